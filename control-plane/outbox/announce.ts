import { type RawBuilder, sql } from "kysely";

/**
 * Puts what happened to jobs into the outbox: an INSERT to stand in the very statement that changes them. `from` is an SQL
 * query for `site_id`, `job_id`, `device_id` and `detail` (jsonb or null); jobs of one site with the same detail share a
 * row, so that a batch costs little more than one job. A reader takes rows whole: let no statement change thousands.
 */
export function announceJobs(change: string, from: RawBuilder<unknown>): RawBuilder<unknown> {
  return sql`
    insert into outbox (noun, change, site_id, ids, device_ids, detail)
    select 'job', ${change}, site_id, array_agg(job_id order by job_id),
      array_agg(device_id order by job_id), detail
    from (${from}) announced group by site_id, detail`;
}

/** The same for tasks; `from` is a query for rows of `tasks` as they are now. */
export function announceTasks(change: string, from: RawBuilder<unknown>): RawBuilder<unknown> {
  return sql`
    insert into outbox (noun, change, ids, detail)
    select 'task', ${change}, array[id], jsonb_strip_nulls(jsonb_build_object('kind', kind,
      'state', state, 'done', done, 'total', total, 'error', error))
    from (${from}) announced`;
}

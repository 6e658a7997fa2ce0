import { type Kysely, type RawBuilder, sql } from "kysely";
import type { SiteId } from "@rookery/shared/ids.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import { END_BATCH, endWaiting } from "./end_waiting.ts";

/**
 * Ends the due jobs whose credential is quarantined, for all devices or for theirs: nobody may log in for them. Run with
 * the upkeep of the queue and after every quarantine; twice is as good as once. Returns how many it ended.
 */
export async function endQuarantined(db: Kysely<Database>): Promise<number> {
  let ended = 0;
  for (const siteId of await findSites(db)) {
    const doomed = doomedAt(siteId);
    for (let more = END_BATCH; more === END_BATCH;) {
      more = await inTransaction(db, (tx) => endWaiting(tx, siteId, { doomed }));
      ended += more;
    }
  }
  return ended;
}

async function findSites(db: Kysely<Database>): Promise<SiteId[]> {
  const { rows } = await sql<{ siteId: SiteId }>`
    select distinct d.site_id from credential_versions v
    join credentials c on c.id = v.credential_id and c.current_version = v.version
    join devices d on d.credential_id = c.id
    where v.state = 'quarantined' and exists (
      select 1 from ready r where r.site_id = d.site_id and r.credential_id = c.id)
    union
    select d.site_id from credential_refusals q
    join credentials c on c.id = q.credential_id and c.current_version = q.version
    join devices d on d.id = q.device_id and d.credential_id = c.id
    where q.quarantined_at is not null and exists (select 1 from open_jobs o
      where o.site_id = d.site_id and o.device_id = d.id)`.execute(db);
  return rows.map(({ siteId }) => siteId);
}

function doomedAt(siteId: SiteId): RawBuilder<unknown> {
  return sql`
    select r.job_id, 'credential_quarantined' as code from credential_versions v
    join credentials c on c.id = v.credential_id and c.current_version = v.version
    join ready r on r.site_id = ${siteId} and r.credential_id = c.id and r.due_at <= now()
    where v.state = 'quarantined'
    union
    select r.job_id, 'credential_quarantined_on_device' from credential_refusals q
    join credentials c on c.id = q.credential_id and c.current_version = q.version
    join credential_versions v on v.credential_id = c.id and v.version = q.version
    join devices d on d.id = q.device_id and d.credential_id = c.id and d.site_id = ${siteId}
    join open_jobs o on o.site_id = d.site_id and o.device_id = d.id
    join ready r on r.site_id = o.site_id and r.job_id = o.job_id and r.due_at <= now()
      and r.logs_in
    where q.quarantined_at is not null and v.state <> 'quarantined'
    limit ${END_BATCH}`;
}

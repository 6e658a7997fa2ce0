import { type Kysely, sql, type Transaction } from "kysely";
import type { DeviceId, PolicyId, SiteId } from "@rookery/shared/ids.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";

/** Jobs of one statement, which must not take longer than a statement may. */
const BATCH = 2_000;

/** A job that waited. */
export interface CancelledJob {
  readonly siteId: SiteId;
  readonly deviceId: DeviceId;
}

/**
 * Cancels the jobs that wait for the sake of a policy and nobody else; those that run go on. The policy's row is locked,
 * so that no step makes new ones. With `offered`, jobs that an agent has and did not begin are cancelled too, through it.
 */
export async function cancelWaiting(
  tx: Transaction<Database>,
  policyId: PolicyId,
  { detail, offered }: { readonly detail: string; readonly offered: boolean },
): Promise<CancelledJob[]> {
  await sql`
    select 1 from sites where id in (select o.site_id from open_jobs o where o.policy_id = ${policyId})
    order by id for no key update`.execute(tx);
  if (offered) {
    await sql`
      update leases l set cancel_requested = true from open_jobs o
      where o.policy_id = ${policyId} and l.site_id = o.site_id and l.job_id = o.job_id
        and not l.running`.execute(tx);
  }
  const cancelled: CancelledJob[] = [];
  for (let batch = BATCH; batch === BATCH;) {
    const jobs = await cancelBatch(tx, policyId, detail);
    cancelled.push(...jobs);
    batch = jobs.length;
  }
  return cancelled;
}

async function cancelBatch(
  tx: Transaction<Database>,
  policyId: PolicyId,
  detail: string,
): Promise<CancelledJob[]> {
  const { rows } = await sql<CancelledJob>`
    with doomed as (
      select r.site_id, r.rank, r.job_id from open_jobs o
      join ready r on r.site_id = o.site_id and r.job_id = o.job_id
      where o.policy_id = ${policyId} limit ${BATCH}
    ), taken as (
      delete from ready r using doomed d
      where r.site_id = d.site_id and r.rank = d.rank and r.job_id = d.job_id returning r.*
    ), closed as (
      delete from open_jobs o using taken t where o.site_id = t.site_id and o.job_id = t.job_id
    ), ended as (
      insert into done (site_id, job_id, device_id, kind, epoch, outcome, failure_detail)
      select site_id, job_id, device_id, kind, epoch, 'cancelled', ${detail} from taken
    )
    select site_id, device_id from taken`.execute(tx);
  return rows;
}

export const STOPPED = "Its policy was disabled or deleted";

/**
 * Cancels what waits again for a policy that is stopped, such as a retry of a job that ran at that moment. Run with the
 * upkeep of the queue.
 */
export async function cancelStopped(db: Kysely<Database>): Promise<number> {
  const { rows } = await sql<{ id: PolicyId }>`
    select p.id from policies p where (not p.enabled or p.deleted_at is not null) and exists (
      select 1 from open_jobs o join ready r on r.site_id = o.site_id and r.job_id = o.job_id
      where o.policy_id = p.id)`.execute(db);
  let cancelled = 0;
  for (const { id } of rows) {
    cancelled += await inTransaction(db, async (tx) => {
      const policy = await tx.selectFrom("policies").select(["enabled", "deletedAt"])
        .where("id", "=", id).forUpdate().executeTakeFirst();
      if (!policy || policy.enabled && policy.deletedAt === null) return 0;
      return (await cancelWaiting(tx, id, { detail: STOPPED, offered: true })).length;
    });
  }
  return cancelled;
}

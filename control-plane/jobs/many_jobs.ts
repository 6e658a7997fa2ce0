import { type Kysely, type RawBuilder, sql } from "kysely";
import type { ManyJobs } from "@rookery/shared/api/many_jobs.ts";
import type { DeviceId, JobId, SiteId, UserId } from "@rookery/shared/ids.ts";
import type { JobKind } from "@rookery/shared/jobs/mod.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import { isVisible, type Scope } from "../permissions/scope.ts";
import { cancelMany } from "./cancel.ts";
import { type EnqueuedJob, enqueueJobs } from "./enqueue.ts";
import { fulfils, isOneOf } from "./job_filter.ts";
import { refused } from "./order_jobs.ts";

/** How many one order may change, and how many in one transaction: a site's queue stands still meanwhile. */
const MOST_JOBS = 100_000;
const BATCH = 500;

export interface ManyOrder {
  readonly order: ManyJobs;
  readonly scope: Scope;
}

interface FoundJob {
  readonly siteId: SiteId;
  readonly id: JobId;
  readonly deviceId: DeviceId;
  readonly kind: JobKind;
  readonly payload: unknown;
  readonly payloadKey: string;
  readonly priority: number;
  readonly totalSeconds: number | null;
}

/** Cancels the jobs that are named, where they wait or run; batch by batch, so another one may see half of it done. */
export async function cancelNamed(db: Kysely<Database>, { order, scope }: ManyOrder) {
  const places = sql`join open_jobs o on o.site_id = j.site_id and o.job_id = j.id
    left join ready r on r.site_id = j.site_id and r.job_id = j.id
    left join leases l on l.site_id = j.site_id and l.job_id = j.id`;
  const reason = sql`coalesce(l.last_failure, r.last_failure)`;
  const jobs = await findJobs(db, { order, scope, places, reason });
  let [cancelled, requested] = [0, 0];
  for (const { siteId, batch } of order.dryRun ? [] : batchesOf(jobs)) {
    const jobIds = batch.map(({ id }) => id);
    const ended = await inTransaction(db, (tx) => cancelMany(tx, { siteId, jobIds }));
    cancelled += ended.cancelled.length;
    requested += ended.requested.length;
  }
  return { matched: jobs.length, cancelled, requested };
}

/** Tries the dead jobs that are named again. A site whose queue is full ends it: what was done before stays. */
export async function requeueNamed(
  db: Kysely<Database>,
  { order, scope, requestedBy }: ManyOrder & { readonly requestedBy: UserId },
) {
  const places = sql`join done d on d.site_id = j.site_id and d.job_id = j.id
      and d.outcome = 'dead' and d.closed_at is null
    join devices v on v.id = j.device_id and v.archived_at is null`;
  const jobs = await findJobs(db, { order, scope, places, reason: sql`d.failure_code` });
  const again: EnqueuedJob[] = [];
  for (const { siteId, batch } of order.dryRun ? [] : batchesOf(jobs)) {
    again.push(...await requeueBatch(db, { siteId, batch, requestedBy }));
  }
  const coalesced = again.filter((job) => job.coalesced).length;
  return { matched: jobs.length, requeued: again.length - coalesced, coalesced };
}

/** Newest first: of several dead jobs of a device the newest says what is tried again. */
async function findJobs(
  db: Kysely<Database>,
  { order, scope, places, reason }: ManyOrder & {
    readonly places: RawBuilder<unknown>;
    readonly reason: RawBuilder<unknown>;
  },
): Promise<FoundJob[]> {
  await refuseUnknown(db, { order, scope });
  const { jobIds, filter, expected } = order;
  const { rows } = await sql<FoundJob>`
    select j.site_id, j.id, j.device_id, j.kind, j.payload, j.payload_key, j.priority,
      j.total_seconds
    from jobs j ${places}
    where ${isVisible("j.site_id", scope)}
      ${jobIds ? sql`and j.id = any(${[...jobIds]}::uuid[])` : sql``}
      ${filter ? fulfils(filter) : sql``} ${isOneOf(reason, filter?.failureCode)}
    order by j.id desc limit ${MOST_JOBS + 1}`.execute(db);
  if (rows.length > MOST_JOBS) {
    const detail = `selects more than ${MOST_JOBS} jobs; narrow it`;
    throw refused([{ detail, pointer: "#/filter" }]);
  }
  if (expected === undefined || rows.length <= expected || order.dryRun) return rows;
  throw new ProblemError(
    "conflict",
    `By now these are ${rows.length} jobs and not ${expected}; nothing was done.`,
  );
}

async function refuseUnknown(db: Kysely<Database>, { order: { jobIds = [] }, scope }: ManyOrder) {
  const { rows } = await sql<{ id: JobId }>`
    select j.id from jobs j
    where j.id = any(${[...jobIds]}::uuid[]) and ${isVisible("j.site_id", scope)}`.execute(db);
  const known = new Set(rows.map(({ id }) => id));
  const unknown = jobIds.flatMap((id, index) =>
    known.has(id) ? [] : [{ detail: "there is no such job", pointer: `#/jobIds/${index}` }]
  );
  if (unknown.length > 0) throw refused(unknown);
}

/** Site by site, in the order of their ids, as everywhere. */
function* batchesOf(jobs: readonly FoundJob[]) {
  const bySite = Map.groupBy(jobs, ({ siteId }) => siteId);
  for (const [siteId, all] of [...bySite].sort(([left], [right]) => left < right ? -1 : 1)) {
    for (let from = 0; from < all.length; from += BATCH) {
      yield { siteId, batch: all.slice(from, from + BATCH) };
    }
  }
}

async function requeueBatch(
  db: Kysely<Database>,
  { siteId, batch, requestedBy }: {
    readonly siteId: SiteId;
    readonly batch: readonly FoundJob[];
    readonly requestedBy: UserId;
  },
): Promise<EnqueuedJob[]> {
  const alike = Map.groupBy(
    batch,
    (job) => JSON.stringify([job.kind, job.payloadKey, job.priority, job.totalSeconds]),
  );
  return await inTransaction(db, async (tx) => {
    const again: EnqueuedJob[] = [];
    for (const jobs of alike.values()) {
      const [first] = jobs;
      if (!first) continue;
      const { kind, payload, priority, totalSeconds } = first;
      const newest = new Map(jobs.toReversed().map((job) => [job.deviceId, job.id]));
      const enqueued = await enqueueJobs(tx, {
        ...{ siteId, kind, payload, priority, requestedBy, urgency: "normal" },
        deviceIds: [...newest.keys()],
        ...(totalSeconds === null ? {} : { totalSeconds }),
      });
      const parents = enqueued.filter((job) => !job.coalesced).map(({ jobId, deviceId }) => ({
        id: jobId,
        parent: newest.get(deviceId),
      }));
      await sql`
        update jobs j set parent_id = p.parent
        from jsonb_to_recordset(${JSON.stringify(parents)}::text::jsonb) as p(id uuid, parent uuid)
        where j.site_id = ${siteId} and j.id = p.id`.execute(tx);
      again.push(...enqueued);
    }
    return again;
  });
}

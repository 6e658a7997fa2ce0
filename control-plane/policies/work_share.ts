import { sql, type Transaction } from "kysely";
import type { SkipReason } from "@rookery/shared/api/policies.ts";
import { findDriver } from "@rookery/shared/drivers/mod.ts";
import type { DeviceId } from "@rookery/shared/ids.ts";
import { JOB_KINDS } from "@rookery/shared/jobs/mod.ts";
import type { Selectable } from "kysely";
import type { Database, OccurrenceSitesTable, OccurrencesTable } from "../database/schema.ts";
import { enqueueJobs } from "../jobs/enqueue.ts";
import { lockQueue } from "../jobs/lock_queue.ts";
import { jitterSeconds } from "./jitter.ts";
import { isSelected } from "./selection.ts";
import { readPolicy, type StoredPolicy } from "./store.ts";
import type { ShareKey } from "./work_shares.ts";

/** Devices of one step: the site's queue stands still meanwhile. */
export const STEP = 500;

type Occurrence = Selectable<OccurrencesTable>;
type Share = Selectable<OccurrenceSitesTable>;

/**
 * One step of a share: jobs for the next devices of a site. Lock order: policy, share, site and what comes after it,
 * occurrence. A policy that is stopped meanwhile waits for the step, or the step for it.
 */
export async function workShare(tx: Transaction<Database>, key: ShareKey): Promise<void> {
  const stored = await tx.selectFrom("policies").selectAll().where("id", "=", key.policyId)
    .forShare().executeTakeFirst();
  const share = await lockShare(tx, key);
  if (!stored || !share) return;
  const occurrence = await tx.selectFrom("occurrences").selectAll()
    .where("id", "=", key.occurrenceId).executeTakeFirstOrThrow();
  const isStopped = stored.deletedAt !== null ||
    !stored.enabled && occurrence.trigger !== "manual";
  if (isStopped) return await endShare(tx, key, { reason: "disabled" });
  await lockQueue(tx, key.siteId);
  const policy = readPolicy(stored);
  const step = await selectStep(tx, { policy, share });
  const devices = step.filter(({ selected }) => selected);
  const able = devices.filter(isAble(policy));
  const jobs = await enqueue(tx, {
    policy,
    share,
    occurrence,
    deviceIds: able.map(({ id }) => id),
  });
  const coalesced = jobs.filter((job) => job.coalesced).length;
  await endShare(tx, key, {
    counts: {
      jobs: jobs.length - coalesced,
      coalesced,
      skipped: devices.length - able.length,
    },
    ...(able.length < devices.length ? { reason: "unsupported" } : {}),
    // More may come: the step was full.
    ...(step.length === STEP ? { lastId: step.at(-1)?.id } : {}),
  });
}

async function lockShare(tx: Transaction<Database>, key: ShareKey): Promise<Share | undefined> {
  return await tx.selectFrom("occurrenceSites").selectAll()
    .where("siteId", "=", key.siteId).where("occurrenceId", "=", key.occurrenceId)
    .forUpdate().executeTakeFirst();
}

interface StepDevice {
  readonly id: DeviceId;
  readonly platform: string;
  readonly selected: boolean;
}

/** The next devices of the site, selected or not: a step is as short where few of them are. */
async function selectStep(
  tx: Transaction<Database>,
  { policy, share }: { readonly policy: StoredPolicy; readonly share: Share },
): Promise<StepDevice[]> {
  const { siteId, afterDeviceId, deviceIds } = share;
  const named = [deviceIds, policy.selection.deviceIds].flatMap((ids) => ids ? [ids] : [])
    .map((ids) => sql`and id = any(${[...ids]}::uuid[])`);
  const { rows } = await sql<StepDevice>`
    select d.id, d.platform, ${isSelected(policy)} as selected from (
      select * from devices where site_id = ${siteId} and archived_at is null
        ${afterDeviceId === null ? sql`` : sql`and id > ${afterDeviceId}`} ${
    sql.join(named, sql` `)
  }
      order by id limit ${STEP}) d
    order by d.id`.execute(tx);
  return rows;
}

/** Whether the driver of a device can do what the policy asks. */
function isAble(
  { kind, payload }: StoredPolicy,
): (device: Pick<StepDevice, "platform">) => boolean {
  const ask = JOB_KINDS[kind].read(payload);
  const known = new Map<string, boolean>();
  return ({ platform }) => {
    const driver = findDriver(platform);
    const able = known.get(platform) ?? (driver !== undefined && ask.refuse(driver).length === 0);
    known.set(platform, able);
    return able;
  };
}

async function enqueue(
  tx: Transaction<Database>,
  { policy, share, occurrence, deviceIds }: {
    readonly policy: StoredPolicy;
    readonly share: Share;
    readonly occurrence: Occurrence;
    readonly deviceIds: readonly DeviceId[];
  },
) {
  if (deviceIds.length === 0) return [];
  const { id: policyId, kind, payload, priority, urgency, startWithinMinutes, totalSeconds } =
    policy;
  const { dueAt, jitterSeconds: window, requestedBy } = occurrence;
  return await enqueueJobs(tx, {
    ...{ siteId: share.siteId, deviceIds, kind, payload, priority, urgency, dueAt },
    delays: new Map(deviceIds.map((id) => [id, jitterSeconds(window, { deviceId: id, policyId })])),
    occurrence: { policyId, at: occurrence.at },
    ...(startWithinMinutes === null
      ? {}
      : { expiresAt: dueAt.add({ minutes: startWithinMinutes }) }),
    ...(totalSeconds === null ? {} : { totalSeconds }),
    ...(requestedBy === null ? {} : { requestedBy }),
  });
}

/** What a step did. */
export interface Step {
  readonly counts?: { readonly jobs: number; readonly coalesced: number; readonly skipped: number };
  readonly reason?: SkipReason;
  /** The share goes on behind this device. */
  readonly lastId?: DeviceId | undefined;
}

/** Notes a step, ends the share with its last one, and decides the run with the last share. */
export async function endShare(
  tx: Transaction<Database>,
  { siteId, occurrenceId }: ShareKey,
  { counts = { jobs: 0, coalesced: 0, skipped: 0 }, reason, lastId }: Step,
): Promise<void> {
  const { rows } = await (lastId === undefined
    ? sql`delete from occurrence_sites
        where site_id = ${siteId} and occurrence_id = ${occurrenceId} returning 1`
    : sql`update occurrence_sites set after_device_id = ${lastId}
        where site_id = ${siteId} and occurrence_id = ${occurrenceId} returning 1`).execute(tx);
  if (rows.length === 0) return;
  await sql`
    update occurrences set jobs = jobs + ${counts.jobs}, coalesced = coalesced + ${counts.coalesced},
      skipped = skipped + ${counts.skipped}, reason = coalesce(${reason ?? null}, reason)
    where id = ${occurrenceId}`.execute(tx);
  // The row's lock orders those who end shares: the last of them sees that no other one is left.
  await sql`
    update occurrences set
      decision = case when jobs > 0 then 'ran' when coalesced > 0 then 'coalesced' else 'skipped' end,
      reason = case when jobs + coalesced > 0 then reason else coalesce(reason, 'no_device') end
    where id = ${occurrenceId}
      and not exists (select 1 from occurrence_sites where occurrence_id = ${occurrenceId})`
    .execute(tx);
}

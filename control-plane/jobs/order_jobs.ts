import { sql, type Transaction } from "kysely";
import type { JobOrder } from "@rookery/shared/api/jobs.ts";
import { findDriver } from "@rookery/shared/drivers/mod.ts";
import type { UserId } from "@rookery/shared/ids.ts";
import { JOB_KINDS } from "@rookery/shared/jobs/mod.ts";
import { type FieldError, ProblemError } from "@rookery/shared/problem.ts";
import type { Database } from "../database/schema.ts";
import type { Scope } from "../permissions/scope.ts";
import { type EnqueuedJob, enqueueJobs } from "./enqueue.ts";
import { isSiteVisible, selectTargets, type Target } from "./job_queries.ts";

/** How many devices one order may reach. */
const MOST_DEVICES = 50_000;

export interface OrderedJobs {
  readonly order: JobOrder;
  readonly scope: Scope;
  readonly requestedBy: UserId;
}

/** Enqueues one job for every device of the order, or none when one of them cannot be. */
export async function orderJobs(
  tx: Transaction<Database>,
  { order, scope, requestedBy }: OrderedJobs,
): Promise<EnqueuedJob[]> {
  const times = await readTimes(tx, order);
  const targets = await findTargets(tx, { order, scope });
  const bySite = Map.groupBy(targets, (target) => target.siteId);
  const jobs: EnqueuedJob[] = [];
  // In the order of their ids, as everywhere, so that two orders never wait for each other in a circle.
  for (const [siteId, devices] of [...bySite].sort(([left], [right]) => left < right ? -1 : 1)) {
    const { kind, payload, urgency, priority, timeoutSeconds } = order;
    jobs.push(
      ...await enqueueJobs(tx, {
        ...{ siteId, kind, payload, urgency, priority, requestedBy, ...times },
        deviceIds: devices.map((device) => device.deviceId),
        ...(timeoutSeconds === undefined ? {} : { totalSeconds: timeoutSeconds }),
      }),
    );
  }
  return jobs;
}

/** By the database's clock. What is ordered for a time is another job than what is ordered for now. */
async function readTimes(tx: Transaction<Database>, { at, expiresAt }: JobOrder) {
  const { rows: [now] } = await sql<{ atIsPast: boolean; expiresIsPast: boolean }>`
    select coalesce(${at ?? null}::timestamptz < now(), false) as at_is_past,
      coalesce(${expiresAt ?? null}::timestamptz <= now(), false) as expires_is_past`.execute(tx);
  if (now?.atIsPast) throw refused([{ detail: "is in the past", pointer: "#/at" }]);
  if (now?.expiresIsPast) throw refused([{ detail: "is in the past", pointer: "#/expiresAt" }]);
  const dueAt = at === undefined ? undefined : Temporal.Instant.from(at);
  return {
    ...(dueAt ? { dueAt, slot: dueAt.toString() } : {}),
    ...(expiresAt === undefined ? {} : { expiresAt: Temporal.Instant.from(expiresAt) }),
  };
}

async function findTargets(
  tx: Transaction<Database>,
  { order, scope }: Pick<OrderedJobs, "order" | "scope">,
): Promise<Target[]> {
  const { siteId, deviceIds, tags } = order;
  if (siteId !== undefined && !await isSiteVisible(tx, { scope, siteId })) {
    throw refused([{ detail: "there is no such site", pointer: "#/siteId" }]);
  }
  const targets = await selectTargets(tx, {
    ...{ scope, siteId, deviceIds, tags },
    limit: MOST_DEVICES + 1,
  });
  const found = new Set(targets.map((target) => target.deviceId));
  const missing = (deviceIds ?? []).flatMap((id, index) =>
    found.has(id) ? [] : [{ detail: "there is no such device", pointer: `#/deviceIds/${index}` }]
  );
  const errors = [...missing, ...wrongNumber(order, targets), ...cannotDo(order, targets)];
  if (errors.length > 0) throw refused(errors);
  return targets;
}

function wrongNumber({ tags, siteId }: JobOrder, targets: readonly Target[]): FieldError[] {
  const pointer = tags === undefined ? "#/siteId" : "#/tags";
  if (targets.length > MOST_DEVICES) {
    return [{ detail: `reaches more than ${MOST_DEVICES} devices`, pointer }];
  }
  if (tags === undefined || targets.length > 0) return [];
  const where = siteId === undefined ? "" : " of that site";
  return [{ detail: `no device${where} has these tags`, pointer }];
}

/** What the drivers of the devices cannot do, each once. */
function cannotDo({ kind, payload }: JobOrder, targets: readonly Target[]): FieldError[] {
  const ask = JOB_KINDS[kind].read(payload);
  const platforms = [...new Set(targets.map((target) => target.platform))];
  const errors = platforms.flatMap((platform) => {
    const driver = findDriver(platform);
    return driver ? ask.refuse(driver) : [];
  });
  const byPointer = new Map(errors.map((error) => [error.pointer, error.detail]));
  return [...byPointer].map(([pointer, detail]) => ({ detail, pointer: `#/payload${pointer}` }));
}

export function refused(errors: readonly FieldError[]): ProblemError {
  const detail = errors.slice(0, 5).map((field) => `${field.pointer}: ${field.detail}`).join("; ");
  return new ProblemError("validation", detail, { errors: errors.slice(0, 50) });
}

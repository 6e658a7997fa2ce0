import type { Transaction } from "kysely";
import type { BackupOrder } from "@rookery/shared/api/jobs.ts";
import { findDriver } from "@rookery/shared/drivers/mod.ts";
import type { DeviceId, SiteId, UserId } from "@rookery/shared/ids.ts";
import { type FieldError, ProblemError } from "@rookery/shared/problem.ts";
import type { z } from "zod";
import type { Database } from "../database/schema.ts";
import type { Scope } from "../permissions/scope.ts";
import { type EnqueuedJob, enqueueJobs } from "./enqueue.ts";
import { isSiteVisible, selectTargets } from "./job_queries.ts";

export interface OrderedBackups {
  readonly order: z.output<typeof BackupOrder>;
  readonly scope: Scope;
  readonly requestedBy: UserId;
}

/** "Back up now": enqueues every named device, or none when one of them cannot be. */
export async function orderBackups(
  tx: Transaction<Database>,
  { order, scope, requestedBy }: OrderedBackups,
): Promise<EnqueuedJob[]> {
  const targets = await findTargets(tx, { order, scope });
  const bySite = Map.groupBy(targets, (target) => target.siteId);
  const jobs: EnqueuedJob[] = [];
  // In the order of their ids, as everywhere, so that two orders never wait for each other in a circle.
  for (const [siteId, devices] of [...bySite].sort(([left], [right]) => left < right ? -1 : 1)) {
    jobs.push(
      ...await enqueueJobs(tx, {
        siteId,
        deviceIds: devices.map((device) => device.deviceId),
        kind: "backup_config",
        payload: { captures: order.captures },
        urgency: order.urgency,
        priority: order.priority,
        requestedBy,
      }),
    );
  }
  return jobs;
}

async function findTargets(
  tx: Transaction<Database>,
  { order, scope }: Pick<OrderedBackups, "order" | "scope">,
) {
  const { siteId, deviceIds } = order;
  if (siteId !== undefined && !await isSiteVisible(tx, { scope, siteId })) {
    throw refused([{ detail: "there is no such site", pointer: "#/siteId" }]);
  }
  const targets = await selectTargets(tx, {
    scope,
    ...(siteId === undefined ? {} : { siteId }),
    ...(deviceIds === undefined ? {} : { deviceIds }),
  });
  const found = new Map(targets.map((target) => [target.deviceId, target]));
  const missing = (deviceIds ?? []).flatMap((id, index) =>
    found.has(id) ? [] : [{ detail: "there is no such device", pointer: `#/deviceIds/${index}` }]
  );
  const unknown = unknownCaptures(order.captures, targets);
  if (missing.length + unknown.length > 0) throw refused([...missing, ...unknown]);
  return targets;
}

function unknownCaptures(
  captures: readonly string[],
  targets: readonly { deviceId: DeviceId; siteId: SiteId; platform: string }[],
): FieldError[] {
  const platforms = [...new Set(targets.map((target) => target.platform))];
  return captures.flatMap((name, index) => {
    const lacking = platforms.find((platform) =>
      !findDriver(platform)?.captures.some((capture) => capture.name === name)
    );
    if (lacking === undefined) return [];
    const detail = `the driver of ${lacking} has no such capture`;
    return [{ detail, pointer: `#/captures/${index}` }];
  });
}

function refused(errors: readonly FieldError[]): ProblemError {
  const detail = errors.slice(0, 5).map((field) => `${field.pointer}: ${field.detail}`).join("; ");
  return new ProblemError("validation", detail, { errors: errors.slice(0, 50) });
}

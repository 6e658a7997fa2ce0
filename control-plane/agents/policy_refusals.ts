import type { Transaction } from "kysely";
import type { AgentId, DeviceId, JobId, SiteId } from "@rookery/shared/ids.ts";
import type { Failure } from "@rookery/shared/jobs/failure.ts";
import { writeAudit } from "../audit/store.ts";
import { lockDeviceStatus } from "../backups/device_status.ts";
import type { Database } from "../database/schema.ts";
import { findAgent } from "./store.ts";

/** An attempt that an agent's own policy forbade. */
export interface PolicyRefusal {
  readonly siteId: SiteId;
  readonly deviceId: DeviceId;
  readonly jobId: JobId;
  readonly agentId: AgentId;
}

/**
 * Raises the alarm that a lease went beyond what its agent allows: somebody changed the one or the other. Once per device
 * and reason, until the device's status says something else. Call it before the attempt enters that status.
 */
export async function alarmPolicyRefusal(
  tx: Transaction<Database>,
  { siteId, deviceId, jobId, agentId }: PolicyRefusal,
  failure: Failure,
): Promise<void> {
  await lockDeviceStatus(tx, { deviceId });
  const known = await tx.selectFrom("deviceStatus").select(["failureCode", "failureDetail"])
    .where("deviceId", "=", deviceId).executeTakeFirst();
  if (known?.failureCode === failure.code && known.failureDetail === failure.detail) return;
  const agent = await findAgent(tx, agentId);
  await writeAudit(tx, {
    actor: { kind: "agent", id: agentId, name: agent?.name ?? "", address: "", requestId: "" },
    action: "agent.policy_refused",
    target: { kind: "device", id: deviceId },
    siteId,
    detail: { jobId, reason: failure.detail },
  });
}

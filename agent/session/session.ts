import type { JobKind } from "@rookery/shared/jobs/mod.ts";
import { backUpDevice, type BackupOrder, type BackupReport } from "./back_up.ts";
import { type DetectOrder, detectPlatform, type DetectReport } from "./detect.ts";
import type { SessionOptions } from "./order.ts";
import { reachDevice, type ReachOrder, type ReachReport } from "./reach.ts";
import { type CommandsOrder, type CommandsReport, runCommandsOn } from "./run_commands.ts";

/** What a session is to do with a device: one for each kind of job. */
export type SessionOrder = BackupOrder | ReachOrder | CommandsOrder | DetectOrder;
/** What came of it. */
export type SessionReport = BackupReport | ReachReport | CommandsReport | DetectReport;
/** The report that belongs to an order. */
export type ReportOf<Order extends SessionOrder> = Extract<
  SessionReport,
  { readonly kind: Order["kind"] }
>;

type Session<Order extends SessionOrder> = (
  order: Order,
  options: SessionOptions,
) => Promise<ReportOf<Order>>;

const SESSIONS: { readonly [Kind in JobKind]: Session<Extract<SessionOrder, { kind: Kind }>> } = {
  backup_config: backUpDevice,
  check_reachability: reachDevice,
  run_commands: runCommandsOn,
  detect_platform: detectPlatform,
};

/** Runs a session of any kind; throws a `DeviceError`, see `withinLimits`. */
export function runSession(
  order: SessionOrder,
  options: SessionOptions,
): Promise<SessionReport> {
  const run = SESSIONS[order.kind] as Session<SessionOrder>;
  return run(order, options);
}

import { type Kysely, sql } from "kysely";
import { dropOldSegments } from "../audit/drop_segments.ts";
import { sealAuditRows, type SealServices } from "../audit/seal_rows.ts";
import { forgetOldProofs } from "../agents/used_proofs.ts";
import { orderChanged } from "../change_hints/order_changed.ts";
import type { TextServices } from "../backups/render_text.ts";
import { deleteOldParts } from "../backups/upload_parts.ts";
import type { Database } from "../database/schema.ts";
import { describeError, type Log } from "../http/log.ts";
import { deleteOldImports } from "../inventory/import_store.ts";
import { trimOutbox } from "../outbox/retention.ts";
import { deleteOldBrowsers } from "../sessions/browser_store.ts";
import { deleteOldFailures } from "../sessions/failure_store.ts";
import { forgetLines, indexTexts, renewOldTexts } from "../search/index_texts.ts";
import { deleteExpiredSessions } from "../sessions/store.ts";
import type { LiveSettings } from "../settings/live_settings.ts";
import { pause } from "../pause.ts";
import { forgetOldRuns, refreshPlans, tickPolicies } from "../policies/tick.ts";
import { workShares } from "../policies/work_shares.ts";
import { forgetTimeouts, raiseLimits } from "./care_for_sites.ts";
import { putOffUntouchable } from "./device_windows.ts";
import { endExpired } from "./end_expired.ts";
import { endQuarantined } from "./end_quarantined.ts";
import { reapLeases } from "./reap.ts";
import type { Ticks } from "./ticks.ts";

const REAP_MS = 2_000;
const HINTS_MS = 2_000;
const POLICIES_MS = 2_000;
const SETTINGS_MS = 1_000;
const SEAL_MS = 10_000;
/** A tick that has not ended well for so long, and three of its turns, makes the replica not ready. */
const LATE_MS = 120_000;
const SEARCH_MS = 1_000;
const HOUSEKEEPING_MS = 3_600_000;
/** Tables that are partitioned by week, and how many weeks are made ahead. */
const PARTITIONED = ["attempts", "backups", "job_log"];
const WEEKS_AHEAD = 4;

export interface MaintenanceServices extends SealServices, TextServices {
  readonly settings: LiveSettings;
  readonly ticks: Ticks;
}

/** Runs the upkeep of the queue, and of what is over, until `signal`; every replica does, and twice is as good as once. */
export async function runMaintenance(
  services: MaintenanceServices,
  { signal }: { signal: AbortSignal },
): Promise<void> {
  const { log } = services;
  const watched = (name: string, run: () => Promise<void>, everyMs: number) =>
    repeat(watch(services, { name, run, everyMs, signal }), { everyMs, signal, log });
  await Promise.all([
    watched("reaping leases", () => reap(services), REAP_MS),
    watched("following change hints", () => followHints(services), HINTS_MS),
    watched("deciding runs", () => decideRuns(services), POLICIES_MS),
    repeat(() => makeRuns(services, signal), { everyMs: POLICIES_MS, signal, log: services.log }),
    watched("reading settings", () => readAgain(services), SETTINGS_MS),
    watched("sealing the audit log", () => seal(services), SEAL_MS),
    repeat(() => makeSearchable(services, signal), {
      everyMs: SEARCH_MS,
      signal,
      log: services.log,
    }),
    repeat(() => keepHouse(services), {
      everyMs: HOUSEKEEPING_MS,
      signal,
      log: services.log,
    }),
  ]);
}

async function reap({ db, log }: MaintenanceServices): Promise<void> {
  const reaped = {
    ...await reapLeases(db),
    quarantined: await endQuarantined(db),
    expired: await endExpired(db),
    putOff: await putOffUntouchable(db),
    limitsRaised: await raiseLimits(db),
  };
  if (Object.values(reaped).every((count) => count === 0)) return;
  log({ level: "info", message: "Leases reaped", ...reaped });
}

async function followHints({ db, log }: MaintenanceServices): Promise<void> {
  const devices = await orderChanged(db);
  if (devices > 0) log({ level: "info", message: "Backups ordered by change hints", devices });
}

async function decideRuns({ db, log }: MaintenanceServices): Promise<void> {
  const { decided, cancelled } = await tickPolicies(db);
  if (decided + cancelled > 0) log({ level: "info", message: "Runs decided", decided, cancelled });
}

async function makeRuns({ db, log }: MaintenanceServices, signal: AbortSignal): Promise<void> {
  const steps = await workShares(db, { signal });
  if (steps > 0) log({ level: "info", message: "Jobs of runs made", steps });
}

/** For those who go by the settings that were read last, such as the log: nobody may ask for others for a long time. */
async function readAgain({ settings }: MaintenanceServices): Promise<void> {
  await settings.read();
}

async function seal(services: MaintenanceServices): Promise<void> {
  await sealAuditRows(services);
}

/** One batch after the other: all current texts at the first start after an update that searches. */
async function makeSearchable(services: MaintenanceServices, signal: AbortSignal): Promise<void> {
  while (!signal.aborted && await indexTexts(services) > 0);
}

async function keepHouse(services: MaintenanceServices): Promise<void> {
  const { db } = services;
  await makePartitions(db);
  await deleteExpiredSessions(db);
  await deleteOldFailures(db);
  await deleteOldBrowsers(db);
  await forgetOldProofs(db);
  await deleteOldParts(db);
  await refreshPlans(db);
  await forgetOldRuns(db);
  await trimOutbox(db);
  await deleteOldImports(db);
  await forgetTimeouts(db);
  await dropOldSegments(services);
  await renewOldTexts(db);
  await forgetLines(db);
}

/** Makes the partitions of this week and the next ones; do it before rows are written, which else fall into the default one. */
export async function makePartitions(db: Kysely<Database>): Promise<void> {
  for (const table of PARTITIONED) {
    await sql`select ensure_weekly_partitions(${table}, ${WEEKS_AHEAD})`.execute(db);
  }
}

/** Tells the readiness probe of each run that ends well. Long work of many steps is not watched: it may take its time. */
function watch(
  { ticks }: MaintenanceServices,
  { name, run, everyMs, signal }: {
    readonly name: string;
    readonly run: () => Promise<void>;
    readonly everyMs: number;
    readonly signal: AbortSignal;
  },
): () => Promise<void> {
  ticks.begin(name, LATE_MS + 3 * everyMs);
  signal.addEventListener("abort", () => ticks.stop(name), { once: true });
  return async () => {
    await run();
    ticks.note(name);
  };
}

/** A failure of one run is logged and the next one tries again: the database may be away for a moment. */
async function repeat(
  run: () => Promise<void>,
  { everyMs, signal, log }: { everyMs: number; signal: AbortSignal; log: Log },
): Promise<void> {
  while (!signal.aborted) {
    try {
      await run();
    } catch (error) {
      log({ level: "error", message: "Maintenance failed", ...describeError(error) });
    }
    await pause(everyMs, signal);
  }
}

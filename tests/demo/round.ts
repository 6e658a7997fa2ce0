/** One round: "back up now" for every site, until every device was tried. */
import { createJobs, type Job, listJobs } from "@rookery/shared/api/jobs.ts";
import { listBackups, listRevisions, readUnifiedDiff } from "@rookery/shared/api/backups.ts";
import type { DeviceId, JobId } from "@rookery/shared/ids.ts";
import type { FailureCode } from "@rookery/shared/jobs/failure.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import type { Fault } from "../support/farm/fault.ts";
import type { CallApi } from "../support/installation.ts";
import type { DemoDevice, DemoSite } from "./inventory.ts";
import type { Progress } from "./progress.ts";

const POLL_MS = 400;
const MOST_TRIES = 100;

/** How each fault of the demo must end. */
export const EXPECTED_FAILURES = {
  refuse: "connection_refused",
  reject_password: "auth_rejected",
  hang_before_banner: "banner_timed_out",
  die_mid_configuration: "connection_lost",
  stop_at_prompt_mid_configuration: "configuration_truncated",
  legacy_algorithms: "legacy_algorithms_only",
} as const satisfies Partial<Record<Fault, FailureCode>>;

export const DEMO_FAULTS = Object.keys(EXPECTED_FAILURES) as (keyof typeof EXPECTED_FAILURES)[];

/** One line of the table. */
export interface Row {
  readonly site: string;
  readonly device: string;
  readonly platform: string;
  readonly outcome: "new" | "unchanged" | "quarantined" | "failed";
  /** In plain words; empty for a backup that succeeded. */
  readonly reason: string;
  readonly failureCode: FailureCode | null;
  readonly grade: string;
  readonly lines: number | null;
  readonly revision: number | null;
  readonly ms: number;
  /** It ended as it should. */
  readonly asExpected: boolean;
  readonly diff?: string;
}

export interface RoundOrder {
  readonly api: CallApi;
  readonly sites: readonly DemoSite[];
  readonly devices: readonly DemoDevice[];
  /** Devices whose configuration was changed since the round before; undefined in the first round. */
  readonly changed?: ReadonlySet<DeviceId>;
  readonly onProgress?: (progress: Progress) => void;
  /** Called once, when half of the devices were tried; the round goes on meanwhile. */
  readonly onHalf?: () => Promise<void>;
  readonly timeoutMs: number;
}

/** Runs one round and returns what became of every device. */
export async function runRound(order: RoundOrder): Promise<Row[]> {
  const before = new Map((await readJobs(order)).map((job) => [job.id, job.attempts]));
  const jobs = new Map<JobId, DeviceId>();
  for (const { siteId } of order.sites) {
    const ordered = await patiently(() => order.api(createJobs, { body: { siteId } }));
    for (const { jobId, deviceId } of ordered.jobs) jobs.set(jobId, deviceId);
  }
  await untilTried(order, jobs, before);
  return await Promise.all(order.devices.map((device) => rowOf(order, device)));
}

/** A job counts as tried when it ended, or when it failed and waits to be tried again. */
function isTried(job: Job, attemptsBefore: number): boolean {
  const ended = job.endedAt !== null;
  const waits = job.state === "scheduled" || job.state === "available";
  return ended || (waits && job.failureCode !== null && job.failureCode !== "session_lost" &&
    job.attempts > attemptsBefore);
}

async function untilTried(
  order: RoundOrder,
  jobs: ReadonlyMap<JobId, DeviceId>,
  before: ReadonlyMap<JobId, number>,
): Promise<void> {
  const until = performance.now() + order.timeoutMs;
  let disturbance: Promise<void> | undefined;
  for (;;) {
    const ours = (await readJobs(order)).filter((job) => jobs.has(job.id));
    const tried = ours.filter((job) => isTried(job, before.get(job.id) ?? 0));
    const failed = tried.filter((job) => job.failureCode !== null).length;
    order.onProgress?.({ tried: tried.length, of: jobs.size, failed });
    if (tried.length * 2 >= jobs.size) disturbance ??= disturb(order);
    if (tried.length === jobs.size) return await disturbance;
    if (performance.now() > until) {
      const states = ours.filter((job) => !tried.includes(job))
        .map((job) => `${job.state}${job.hold ? ` (${job.hold})` : ""}`);
      throw new Error(`${jobs.size - tried.length} jobs did not end: ${states.join(", ")}`);
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** What goes wrong in it is told when the round is over, or when the round fails for it. */
function disturb({ onHalf }: RoundOrder): Promise<void> | undefined {
  const disturbance = onHalf?.();
  disturbance?.catch(() => {});
  return disturbance;
}

async function readJobs({ api, sites }: RoundOrder): Promise<Job[]> {
  const jobs: Job[] = [];
  for (const { siteId } of sites) {
    let cursor: string | undefined;
    do {
      const query = { siteId, limit: 500, ...(cursor === undefined ? {} : { cursor }) };
      const page = await patiently(() => api(listJobs, { query }));
      jobs.push(...page.items);
      cursor = page.nextCursor ?? undefined;
    } while (cursor !== undefined);
  }
  return jobs;
}

/** Control plane and database may be restarted in the middle of a round: that is no failure of the round. */
async function patiently<Reply>(ask: () => Promise<Reply>): Promise<Reply> {
  for (let tries = 0;; tries++) {
    try {
      return await ask();
    } catch (error) {
      const passing = error instanceof TypeError ||
        error instanceof ProblemError && error.status === 503;
      if (!passing || tries >= MOST_TRIES) throw error;
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }
}

async function rowOf(order: RoundOrder, device: DemoDevice): Promise<Row> {
  const { api, changed } = order;
  const params = { deviceId: device.deviceId };
  const { items: [backup] } = await patiently(() =>
    api(listBackups, { params, query: { limit: 1 } })
  );
  const { items: [revision] } = await patiently(() =>
    api(listRevisions, { params, query: { limit: 1 } })
  );
  const capture = backup?.captures[0];
  const outcome = capture?.kind ?? "failed";
  const isNew = outcome === "new" && changed !== undefined && revision;
  return {
    site: device.site,
    device: device.name,
    platform: device.member.platform,
    outcome,
    reason: backup?.reason ?? (backup ? "" : "It was not tried."),
    failureCode: backup?.failureCode ?? null,
    grade: capture?.grade ?? "",
    lines: capture?.lines ?? null,
    revision: revision?.number ?? null,
    ms: backup?.durationMs ?? 0,
    asExpected: (backup?.failureCode ?? outcome) === expectedOf(device, changed),
    ...(isNew
      ? { diff: await api(readUnifiedDiff, { params: { revisionId: revision.id }, query: {} }) }
      : {}),
  };
}

function expectedOf(device: DemoDevice, changed: ReadonlySet<DeviceId> | undefined): string {
  const failures: Partial<Record<Fault, FailureCode>> = EXPECTED_FAILURES;
  const failure = failures[device.member.fault ?? "slow_drip"];
  if (failure) return failure;
  return changed === undefined || changed.has(device.deviceId) ? "new" : "unchanged";
}

/** Orders without end, as many people would: backups, cancellations, repetitions, looks at what goes on. */
import { setTimeout as delay } from "node:timers/promises";
import { cancelJob, createJobs, listJobs, requeueJob } from "@rookery/shared/api/jobs.ts";
import { disablePolicy, enablePolicy, runPolicy } from "@rookery/shared/api/policies.ts";
import type { DeviceId, JobId, PolicyId } from "@rookery/shared/ids.ts";
import { makeRandom, type Random } from "../support/farm/random.ts";
import type { Client } from "./client.ts";
import type { Devices } from "./inventory.ts";

export interface LoadOptions {
  readonly client: Client;
  readonly devices: Devices;
  /** One that only people run and switch. */
  readonly policyId: PolicyId;
  readonly seed: number;
  /** Devices that are ordered every second; those that have a job open get no second one. */
  readonly perSecond: number;
  readonly signal: AbortSignal;
}

const KEPT_JOBS = 2_000;
/** One of so many devices that are ordered has an SSH server: a session costs five times as much as all the rest. */
const REAL_SHARE = 6;
const STRIDE = 7;
const URGENCIES = ["interactive", "normal", "normal", "bulk"] as const;
const PRIORITIES = [0, 0, 0, 5, -5, 100, -100] as const;

interface Scene extends LoadOptions {
  readonly random: Random;
  /** The newest jobs, newest last. */
  readonly jobs: JobId[];
}

/** Until `signal`; then what was asked is still answered. */
export async function runLoad(options: LoadOptions): Promise<void> {
  const scene: Scene = { ...options, random: makeRandom(options.seed + 2), jobs: [] };
  await Promise.all([
    repeat(scene, 1_000, () => order(scene)),
    repeat(scene, 1_700, () => cancel(scene)),
    repeat(scene, 2_300, () => requeue(scene)),
    repeat(scene, 3_100, () => look(scene)),
    repeat(scene, 4_700, () => runNow(scene)),
    repeat(scene, 7_900, () => switchPolicy(scene)),
  ]);
}

/** Every so often, one after the other: a slow answer does not pile calls up. */
async function repeat(
  { signal }: Scene,
  everyMs: number,
  run: () => Promise<void>,
): Promise<void> {
  while (!signal.aborted) {
    const startedAt = performance.now();
    await run();
    const left = everyMs - (performance.now() - startedAt);
    await delay(Math.max(10, left), undefined, { signal }).catch(() => {});
  }
}

async function order({ client, devices, perSecond, random, jobs }: Scene): Promise<void> {
  const urgency = random.pick(URGENCIES);
  const priority = random.pick(PRIORITIES);
  const real = devices.filter(({ port }) => port !== null);
  const told = devices.filter(({ port }) => port === null);
  const ofReal = Math.max(1, Math.round(perSecond / REAL_SHARE));
  const deviceIds = [...some(real, ofReal, random), ...some(told, perSecond - ofReal, random)];
  const body = { deviceIds, urgency, priority };
  const reply = await client.tell(
    "order",
    { endpoint: createJobs, input: { body } },
    ({ jobs }) => ({ urgency, priority, jobs }),
  );
  jobs.push(...(reply?.jobs ?? []).map(({ jobId }) => jobId));
  jobs.splice(0, jobs.length - KEPT_JOBS);
}

/** So many different ones, from some place on. */
function some(devices: Devices, count: number, random: Random): DeviceId[] {
  const from = random.integer(0, devices.length - 1);
  const chosen = Array.from(
    { length: Math.min(count, devices.length) },
    (_, n) => devices[(from + n * STRIDE) % devices.length]?.deviceId,
  );
  return [...new Set(chosen.filter((id) => id !== undefined))];
}

/** Of a young job, which may wait, run or be over. */
async function cancel({ client, random, jobs }: Scene): Promise<void> {
  const jobId = jobs.at(-random.integer(1, 60));
  if (jobId === undefined) return;
  await client.tell(
    "cancel",
    { endpoint: cancelJob, input: { params: { jobId } } },
    ({ state }) => ({ jobId, state }),
  );
}

/** Of an old job, which has ended, or has not. */
async function requeue({ client, random, jobs }: Scene): Promise<void> {
  const jobId = jobs[random.integer(0, jobs.length)];
  if (jobId === undefined) return;
  await client.tell(
    "requeue",
    { endpoint: requeueJob, input: { params: { jobId } } },
    ({ jobId, coalesced }) => ({ jobs: [{ jobId, deviceId: "", coalesced }] }),
  );
}

async function look({ client }: Scene): Promise<void> {
  await client.tell("read", { endpoint: listJobs, input: { query: { limit: 20 } } }, () => ({}));
}

async function runNow({ client, policyId }: Scene): Promise<void> {
  await client.tell(
    "run_policy",
    { endpoint: runPolicy, input: { params: { policyId } } },
    ({ id }) => ({ policyId, occurrenceId: id }),
  );
}

/** Off, which cancels what waits for its sake, or on. */
async function switchPolicy({ client, random, policyId }: Scene): Promise<void> {
  const endpoint = random.integer(0, 1) === 0 ? disablePolicy : enablePolicy;
  const input = { params: { policyId } };
  await client.tell("switch_policy", { endpoint, input }, () => ({ policyId }));
}

/** Orders what is still open once more, so that what waits for its next try need not wait for long. */
export async function hurry(client: Client, deviceIds: readonly string[]): Promise<void> {
  if (deviceIds.length === 0) return;
  const body = { deviceIds: deviceIds as never, urgency: "interactive" as const };
  await client.tell(
    "order",
    { endpoint: createJobs, input: { body } },
    ({ jobs }) => ({ urgency: "interactive", priority: 0, jobs }),
  );
}

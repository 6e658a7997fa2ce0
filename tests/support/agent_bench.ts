/** Agents against the real control plane of a test file: enrolment, a network to break, boots to drive by hand. */
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { decodeJwt, SignJWT } from "jose";
import { claimLeases } from "@rookery/shared/api/agent_protocol.ts";
import { createJoinToken } from "@rookery/shared/api/agents.ts";
import { createCredential } from "@rookery/shared/api/credentials.ts";
import { createDevice } from "@rookery/shared/api/devices.ts";
import { createJobs, getJob } from "@rookery/shared/api/jobs.ts";
import { createSite } from "@rookery/shared/api/sites.ts";
import type { CallInput } from "@rookery/shared/endpoint.ts";
import type { BootId, ClaimId, DeviceId, JobId, SiteId } from "@rookery/shared/ids.ts";
import { LeaseClaims } from "@rookery/shared/jobs/lease.ts";
import { type AttemptReport, RESULT_TYPE } from "@rookery/shared/jobs/result.ts";
import { Agent } from "../../agent/agent.ts";
import { type Clock, systemClock } from "../../agent/clock.ts";
import { ControlPlane } from "../../agent/control_plane.ts";
import { enroll, privateKey } from "../../agent/enroll.ts";
import { AgentSettings } from "../../agent/settings.ts";
import type { SpoolFiles } from "../../agent/spool_files.ts";
import { type AgentIdentity, StateFolder } from "../../agent/state_folder.ts";
import type { ThreadOptions } from "../../agent/workers/session_threads.ts";
import { reapLeases } from "../../control-plane/jobs/reap.ts";
import type { TestControlPlane } from "./control_plane.ts";
import type { FarmDevice } from "./farm/device.ts";
import { Wire } from "./wire.ts";

/** Devices of the farm listen on loopback, which no agent enters unless its policy names it. */
const SETTINGS = AgentSettings.parse({ policy: { networks: ["127.0.0.0/8"] } });

type Body<E> = E extends { readonly body: infer Schema } ? Schema : never;
type SiteBody = CallInput<typeof createSite>["body"];
type DeviceBody = CallInput<typeof createDevice>["body"];

const REAP_MS = 1_000;
/** An agent with a fast clock on a busy machine starts an offer too late; it is offered again half a minute later. */
const JOB_MS = 90_000;

let made = 0;

/** A name that no other call of this file gave. */
export function freshName(what: string): string {
  return `${what} ${++made}`;
}

export async function makeSite(
  plane: TestControlPlane,
  options: Partial<SiteBody> = {},
): Promise<SiteId> {
  const admin = await plane.administrator();
  const body = { name: freshName("site"), ...options };
  return (await admin.call(createSite, { body })).id;
}

/** Adds a device that nobody will connect to: platform frr, with a credential. */
export async function addDevice(
  plane: TestControlPlane,
  siteId: SiteId,
  options: Partial<DeviceBody> = {},
): Promise<DeviceId> {
  const admin = await plane.administrator();
  const name = freshName("device");
  const credential = options.credentialId === undefined ? await passwordCredential(plane) : null;
  const body = {
    siteId,
    name,
    host: `device-${made}.test`,
    platform: "frr",
    credentialId: credential,
    ...options,
  };
  return (await admin.call(createDevice, { body })).id;
}

export async function passwordCredential(
  plane: TestControlPlane,
  username = "netops",
  password = "p",
) {
  const admin = await plane.administrator();
  const body = { name: freshName("credential"), username, password };
  return (await admin.call(createCredential, { body })).id;
}

/** Adds a farm device with its own login and short limits. */
export async function addFarmDevice(
  plane: TestControlPlane,
  siteId: SiteId,
  device: Pick<FarmDevice, "host" | "port" | "platform" | "login">,
): Promise<DeviceId> {
  const { username, password } = device.login;
  return await addDevice(plane, siteId, {
    host: device.host,
    port: device.port,
    platform: device.platform,
    connectSeconds: 5,
    idleSeconds: 5,
    totalSeconds: 30,
    credentialId: await passwordCredential(plane, username, password ?? ""),
  });
}

export async function makeJoinToken(plane: TestControlPlane, siteIds: SiteId[]) {
  const admin = await plane.administrator();
  const body = { agentName: freshName("agent"), siteIds };
  return await admin.call(createJoinToken, { body });
}

/** An empty state folder; dispose it to remove it. */
export async function makeStateFolder(): Promise<{ state: StateFolder } & AsyncDisposable> {
  const parent = await Deno.makeTempDir({ prefix: "rookery-agent-" });
  return {
    state: await StateFolder.open(join(parent, "state")),
    [Symbol.asyncDispose]: () => Deno.remove(parent, { recursive: true }),
  };
}

export interface EnrolledAgent extends AsyncDisposable {
  readonly state: StateFolder;
  readonly identity: AgentIdentity;
}

export async function enrolAgent(
  plane: TestControlPlane,
  siteIds: SiteId[],
): Promise<EnrolledAgent> {
  const { joinToken } = await makeJoinToken(plane, siteIds);
  const folder = await makeStateFolder();
  const wire = new Wire(plane);
  const identity = await enroll(
    { controlPlaneUrl: plane.publicUrl, joinToken },
    { state: folder.state, send: wire.send, signal: new AbortController().signal },
  );
  return { ...folder, identity };
}

/** One boot whose calls a test makes itself, with proofs and tokens as the agent makes them. */
export interface ManualBoot {
  readonly bootId: BootId;
  readonly controlPlane: ControlPlane;
  readonly wire: Wire;
  readonly signKey: CryptoKey;
  readonly call: <E extends Parameters<ControlPlane["call"]>[0]>(
    endpoint: E,
    input: CallInput<E>,
  ) => ReturnType<typeof ControlPlane.prototype.call<E>>;
  claim(options?: Partial<Body<typeof claimLeases>> & { wanted?: number }): Promise<LeaseClaims[]>;
}

export async function bootByHand(
  plane: TestControlPlane,
  { state, identity }: EnrolledAgent,
): Promise<ManualBoot> {
  const wire = new Wire(plane);
  const bootId = crypto.randomUUID() as BootId;
  const signKey = await privateKey(identity.signKey, "Ed25519");
  const { d: _, ...publicJwk } = identity.signKey;
  const controlPlane = new ControlPlane({
    base: identity.controlPlaneUrl,
    key: { privateKey: signKey, publicJwk },
    send: wire.send,
    boot: { bootId, sequence: await state.nextSequence(), capacity: 50 },
    clock: systemClock,
  });
  const { signal } = new AbortController();
  return {
    bootId,
    controlPlane,
    wire,
    signKey,
    call: (endpoint, input) => controlPlane.call(endpoint, input, { signal }),
    async claim({ wanted = 50 } = {}) {
      const claimId = crypto.randomUUID() as ClaimId;
      const body = { claimId, bootId, wanted, waitSeconds: 0 };
      const { leases } = await controlPlane.call(claimLeases, { body }, { signal });
      return leases.map(({ lease }) => LeaseClaims.parse(decodeJwt(lease)));
    },
  };
}

/** A result of a lease under the agent's key, as it travels; `changes` are put over what it claims. */
export async function signResult(
  { signKey }: Pick<ManualBoot, "signKey">,
  { aud: iss, iss: aud, sub, jti, siteId, epoch, bootId, incarnation }: LeaseClaims,
  report: AttemptReport,
  changes: Record<string, unknown> = {},
): Promise<string> {
  const lease = { iss, aud, sub, jti, siteId, epoch, bootId, incarnation };
  const claims = { ...lease, report, durationMs: 7, agentVersion: "by-hand", ...changes };
  return await new SignJWT({ ...claims })
    .setProtectedHeader({ alg: "Ed25519", typ: RESULT_TYPE })
    .sign(signKey);
}

export interface RunningAgent extends AsyncDisposable {
  readonly agent: Agent;
  readonly wire: Wire;
  /** Names of the events it logged, with what stood beside them. */
  readonly log: readonly { readonly event: string; readonly [field: string]: unknown }[];
  logged(event: string): boolean;
}

/** Starts the real agent; disposing stops it and waits until nothing of it runs. */
export async function startAgent(
  plane: TestControlPlane,
  { state, identity }: EnrolledAgent,
  options: {
    clock?: Clock;
    settings?: Partial<AgentSettings>;
    wire?: Wire;
    spoolFiles?: SpoolFiles;
    threads?: ThreadOptions;
  } = {},
): Promise<RunningAgent> {
  const wire = options.wire ?? new Wire(plane);
  const log: { event: string }[] = [];
  const agent = await Agent.start({
    state,
    identity,
    settings: { ...SETTINGS, ...options.settings },
    log: (_level, event, fields) => log.push({ event, ...fields }),
    send: wire.send,
    ...(options.clock ? { clock: options.clock } : {}),
    ...(options.spoolFiles ? { spoolFiles: options.spoolFiles } : {}),
    ...(options.threads ? { threads: options.threads } : {}),
  });
  // A test that does not look at how it ended must not fail for it.
  const ended = agent.finished.catch(() => {});
  return {
    agent,
    wire,
    log,
    logged: (event) => log.some((line) => line.event === event),
    async [Symbol.asyncDispose]() {
      agent.stop();
      await ended;
      await wire.idle();
    },
  };
}

/** Orders a backup of each device, now. */
export async function backUpNow(
  plane: TestControlPlane,
  deviceIds: DeviceId[],
): Promise<JobId[]> {
  const admin = await plane.administrator();
  const { jobs } = await admin.call(createJobs, { body: { deviceIds } });
  return deviceIds.flatMap((id) => jobs.filter((job) => job.deviceId === id).map((j) => j.jobId));
}

export async function readJob(plane: TestControlPlane, jobId: JobId) {
  const admin = await plane.administrator();
  return await admin.call(getJob, { params: { jobId } });
}

/** Waits until a job has one of the states. */
/** Waits until a job is in one of these states; meanwhile offers that nobody started come back, as a control plane sees to. */
export async function untilJob(plane: TestControlPlane, jobId: JobId, ...states: string[]) {
  let reapedAt = performance.now();
  const isThere = async () => {
    if (performance.now() - reapedAt > REAP_MS) {
      await reapLeases(plane.services.db);
      reapedAt = performance.now();
    }
    return states.includes((await readJob(plane, jobId)).state);
  };
  await until(isThere, `the job is ${states.join(" or ")}`, JOB_MS);
  return await readJob(plane, jobId);
}

/** How often is looked: what is asked for costs more than what is only looked at, and delays what is waited for. */
const LOOK_MS = { least: 10, most: 100 };
/** Of the time of a wait, at most so much is spent on asking; a long one is asked about more seldom. */
const ASKING = { share: 1 / 6, elapsed: 1 / 25 };

/** Waits until something is so, looking every few milliseconds; fails after `ms`. */
export async function until(
  isSo: () => boolean | Promise<boolean>,
  what: string,
  ms = 30_000,
): Promise<void> {
  const startedAt = performance.now();
  for (let askedAt = startedAt;; askedAt = performance.now()) {
    const answer = isSo();
    if (await answer) return;
    const now = performance.now();
    if (now > startedAt + ms) throw new Error(`Waited ${ms} ms in vain until ${what}`);
    const rest = Math.max((now - askedAt) / ASKING.share, (now - startedAt) * ASKING.elapsed);
    const { least, most } = LOOK_MS;
    await delay(typeof answer === "boolean" ? least : Math.min(most, Math.max(least, rest)));
  }
}

import { join } from "node:path";
import { drainAgent, fetchDriver } from "@rookery/shared/api/agent_protocol.ts";
import type { BootId, ClaimId } from "@rookery/shared/ids.ts";
import type { ProblemError } from "@rookery/shared/problem.ts";
import { AgentKeys } from "./agent_keys.ts";
import { type Clock, systemClock } from "./clock.ts";
import {
  ControlPlane,
  isDecisionPending,
  isDismissal,
  patienceMs,
  type Send,
  type SessionState,
} from "./control_plane.ts";
import { Fence } from "./fence.ts";
import { FetchedDrivers } from "./fetched_drivers.ts";
import { makeSend } from "./http.ts";
import { guardFence, HeartbeatKick, type HeartbeatOptions, runHeartbeat } from "./heartbeat.ts";
import { runLeaseLoop } from "./lease_loop.ts";
import { loginFor } from "./local_credentials.ts";
import { refuseKind } from "./local_policy.ts";
import { errorText, type Log } from "./log.ts";
import { tellReturn } from "./reachability.ts";
import { runReplay } from "./replay.ts";
import { KeyRotation, openByKnownKey } from "./rotate_keys.ts";
import type { LeaseWork } from "./run_lease.ts";
import { RunningLeases } from "./running_leases.ts";
import { SeenEpochs } from "./seen_epochs.ts";
import { type AgentSettings, sessionLimit } from "./settings.ts";
import { Spool } from "./spool.ts";
import { diskFiles, type SpoolFiles } from "./spool_files.ts";
import type { AgentIdentity, StateFolder } from "./state_folder.ts";
import type { AgentFigures } from "./status_file.ts";
import { SyslogListener } from "./syslog/listener.ts";
import { TrustRoot } from "./trust_root.ts";
import type { LeaseExpectation } from "./verify_lease.ts";
import { SessionThreads, type ThreadOptions } from "./workers/session_threads.ts";

const FIRST_SESSION_RETRY_MS = 2_000;
const DRAIN_REQUEST_MS = 5_000;
const FETCH_DRIVER_MS = 30_000;

export interface AgentOptions {
  readonly state: StateFolder;
  readonly identity: AgentIdentity;
  readonly settings: AgentSettings;
  readonly log: Log;
  readonly send?: Send;
  readonly clock?: Clock;
  readonly spoolFiles?: SpoolFiles;
  /** Default: session threads as they ship. */
  readonly threads?: ThreadOptions;
  /** Given, once, the way to ask what the agent is doing. */
  readonly observe?: (figures: () => AgentFigures) => void;
}

/**
 * One boot of an agent. It opens a session, then runs three loops until it is told to end: heartbeat, fence
 * and leases. `drain()` takes no more work and lets what runs finish, the heartbeat last; `stop()` ends at
 * once. `finished` settles when nothing runs any more, with an error when the control plane sent it away.
 */
export class Agent {
  readonly finished: Promise<void>;
  readonly #draining = new AbortController();
  readonly #stopping = new AbortController();

  private constructor(run: (signals: { drain: AbortSignal; stop: AbortSignal }) => Promise<void>) {
    this.finished = run({ drain: this.#draining.signal, stop: this.#stopping.signal });
  }

  static async start(options: AgentOptions): Promise<Agent> {
    const boot = await makeBoot(options);
    return new Agent((signals) => live(boot, signals).finally(() => endBoot(boot)));
  }

  /** Takes no more work; safe to call again. */
  drain(): void {
    this.#draining.abort();
  }

  /** Aborts running sessions too; safe to call again. */
  stop(): void {
    this.#draining.abort();
    this.#stopping.abort();
  }
}

interface Boot {
  readonly bootId: BootId;
  readonly controlPlane: ControlPlane;
  readonly trust: TrustRoot;
  readonly drivers: FetchedDrivers;
  readonly fence: Fence;
  readonly sessions: SessionThreads;
  /** Aborted when this process should end, for whatever keeps it alive to start it again. */
  readonly stuck: AbortSignal;
  readonly clock: Clock;
  readonly options: AgentOptions;
  readonly keys: AgentKeys;
  readonly rotation: KeyRotation;
  /** Aborted when nothing of this boot is to go on. */
  readonly ending: AbortController;
  readonly spool: Spool;
  /** Kicked when the control plane answers again. */
  readonly back: HeartbeatKick;
}

async function endBoot(boot: Boot): Promise<void> {
  const { controlPlane, trust, rotation, ending, sessions, drivers } = boot;
  ending.abort();
  sessions.close();
  controlPlane.close();
  await Promise.all([trust.close(), rotation.idle(), drivers.idle()]);
}

async function makeBoot(options: AgentOptions): Promise<Boot> {
  const { identity, state, settings, log } = options;
  const clock = options.clock ?? systemClock;
  const fence = new Fence(clock);
  const bootId = crypto.randomUUID() as BootId;
  const keys = await AgentKeys.open(identity);
  const ending = new AbortController();
  const back = new HeartbeatKick();
  const send = tellReturn(options.send ?? makeSend(), () => {
    log("info", "control_plane_back");
    back.kick();
  });
  const trust = await TrustRoot.open({ identity, state, send, clock, log });
  const drivers = await openDrivers(options, { trust, clock });
  const controlPlane: ControlPlane = new ControlPlane({
    base: identity.controlPlaneUrl,
    key: keys.proofKey,
    send,
    boot: { bootId, sequence: await state.nextSequence(), capacity: sessionLimit(settings) },
    clock,
    drivers: () => drivers.digests(),
    onSession(session) {
      fence.renew(session.openedAtMs, session.ttlSeconds);
      // Beside the work: who still trusts the key that signs needs nothing of it now.
      void trust.note(session.keyGeneration);
      if (session.rotateKeys) rotation.ask();
      void takeUpDrivers({ drivers, controlPlane, ending, options }, session.drivers);
    },
  });
  const rotation: KeyRotation = new KeyRotation({
    ...{ state, identity, keys, controlPlane, clock, log },
    signal: ending.signal,
  });
  const spool = await openSpool(options, trust);
  const own = { bootId, controlPlane, trust, drivers, fence, clock, keys, rotation };
  return { ...own, ...openThreads(options), options, ending, spool, back };
}

function openDrivers(
  { state, identity: { issuer }, settings: { policy }, log }: AgentOptions,
  known: { trust: TrustRoot; clock: Clock },
): Promise<FetchedDrivers> {
  const isAllowed = policy.fetchedDrivers ?? false;
  return FetchedDrivers.open({ ...known, state, issuer, isAllowed, log });
}

/** Fetches what this agent lacks and may have, and says so by a new session: claims grant only what was reported. */
async function takeUpDrivers(
  { drivers, controlPlane, ending, options }: Pick<
    Boot,
    "drivers" | "controlPlane" | "ending" | "options"
  >,
  wanted: SessionState["drivers"],
): Promise<void> {
  if (wanted.length === 0) return;
  const signal = () => AbortSignal.any([ending.signal, AbortSignal.timeout(FETCH_DRIVER_MS)]);
  const changed = await drivers.want(wanted, async (sha256) => {
    const reply = await controlPlane.call(fetchDriver, { params: { sha256 } }, {
      signal: signal(),
    });
    return reply.driver;
  });
  if (!changed || ending.signal.aborted) return;
  await controlPlane.renew({ signal: signal() }).catch((error) => {
    // Whatever is called next opens the session.
    options.log("warn", "session_not_renewed", { reason: errorText(error) });
  });
}

function openThreads({ settings, log, threads }: AgentOptions) {
  const stuck = new AbortController();
  const sessions = new SessionThreads({
    ...threads,
    policy: settings.policy,
    log,
    onStuck: () => stuck.abort(new Error("Cannot go on: too many threads are blocked for good")),
  });
  return { sessions, stuck: stuck.signal };
}

function openSpool(
  { state, settings, log, spoolFiles }: AgentOptions,
  trust: TrustRoot,
): Promise<Spool> {
  return Spool.open({
    folder: join(state.path, "spool"),
    limits: settings.spool,
    files: spoolFiles ?? diskFiles,
    log,
    sealingKey: () => trust.sealingKey,
  });
}

interface Signals {
  readonly drain: AbortSignal;
  readonly stop: AbortSignal;
}

async function live(boot: Boot, signals: Signals): Promise<void> {
  const { options: { log, settings, identity } } = boot;
  if (!await openFirstSession(boot, signals)) return;
  boot.sessions.warmUp();
  log("info", "agent_started", { agent: identity.agentId, boot: boot.bootId });
  const { spool } = boot;
  const leases = new RunningLeases({ alsoHeld: () => spool.ownLeaseIds() });
  const hearing = new AbortController();
  const syslog = hearSyslog(boot, hearing.signal);
  boot.options.observe?.(() => ({
    sessions: leases.sessions,
    spool: spool.figures,
    syslog: syslog?.status,
  }));
  const dismissed = dismissalOf(leases);
  const kick = new HeartbeatKick();
  const beating = new AbortController();
  const delivering = new AbortController();
  const shared = { ...boot, leases, log, onDismissal: dismissed.by };
  const heartbeat: HeartbeatOptions = {
    ...shared,
    signal: AbortSignal.any([beating.signal, signals.stop]),
  };
  const pulse = Promise.all([runHeartbeat(heartbeat, kick), guardFence(heartbeat)]);
  const ending = AbortSignal.any([delivering.signal, signals.stop]);
  const replay = runReplay({
    ...shared,
    kick: boot.back,
    stopSignal: ending,
    signal: AbortSignal.any([ending, dismissed.signal]),
  });
  await runLeaseLoop({
    ...shared,
    capacity: sessionLimit(settings),
    policySessions: settings.policy.sessions,
    kick,
    work: leaseWork(boot, ending),
    expectation: expectationOf(boot),
    signal: AbortSignal.any([signals.drain, signals.stop, dismissed.signal, boot.stuck]),
  });
  if (dismissed.signal.aborted) leases.abortAll("lease_lost");
  else await giveBack(boot, signals.stop);
  await finishRunning(boot, { leases, delivering, stop: signals.stop });
  // Last, so that what was still running kept its lease to the end.
  beating.abort();
  hearing.abort();
  await Promise.all([pulse, replay, syslog?.finished]);
  log("info", "agent_stopped", { agent: identity.agentId });
  dismissed.signal.throwIfAborted();
  boot.stuck.throwIfAborted();
}

/** Beside the work, which goes on whatever becomes of it. */
function hearSyslog(boot: Boot, signal: AbortSignal): SyslogListener | undefined {
  const { options: { settings: { syslog }, log }, controlPlane, clock, ending } = boot;
  if (!syslog) return undefined;
  return new SyslogListener({
    ...{ settings: syslog, controlPlane, clock, log },
    signal: AbortSignal.any([signal, ending.signal]),
  });
}

/** Being sent away, by whichever loop hears of it first, ends every session at once. */
function dismissalOf(leases: RunningLeases) {
  const controller = new AbortController();
  return {
    signal: controller.signal,
    by(problem: ProblemError): void {
      controller.abort(problem);
      leases.abortAll("lease_lost");
    },
  };
}

/** Lets what runs finish for as long as the settings say; then sessions and deliveries are given up. */
async function finishRunning(
  { clock, options: { settings } }: Boot,
  { leases, delivering, stop }: {
    leases: RunningLeases;
    delivering: AbortController;
    stop: AbortSignal;
  },
): Promise<void> {
  const done = new AbortController();
  const overtime = clock.sleep(settings.drainSeconds * 1_000, {
    signal: AbortSignal.any([done.signal, stop]),
  });
  await Promise.race([leases.idle(), overtime]);
  done.abort();
  leases.abortAll("lease_lost");
  delivering.abort();
  await leases.idle();
}

/** Waits for a control plane that is away, and for a person who has to decide; gives up when it says that it does not want this agent. */
async function openFirstSession(boot: Boot, signals: Signals): Promise<boolean> {
  const { options: { log }, clock } = boot;
  const signal = AbortSignal.any([signals.drain, signals.stop]);
  for (let tries = 0; !signal.aborted; tries++) {
    try {
      await openByKnownKey({ ...boot, ...boot.options, clock, signal });
      return true;
    } catch (error) {
      if (signal.aborted) return false;
      if (isDismissal(error)) throw error;
      const waits = isDecisionPending(error);
      log("warn", waits ? "agent_waits" : "control_plane_unreachable", {
        reason: errorText(error),
      });
      const unheardMs = FIRST_SESSION_RETRY_MS * (0.5 + Math.random());
      await clock.sleep(waits ? patienceMs(tries) : unheardMs, { signal });
    }
  }
  return false;
}

/** Tells the control plane that nothing more is claimed; what was offered and not started goes back. */
async function giveBack(boot: Boot, stop: AbortSignal): Promise<void> {
  try {
    const signal = AbortSignal.any([stop, AbortSignal.timeout(DRAIN_REQUEST_MS)]);
    await boot.controlPlane.call(drainAgent, { body: { bootId: boot.bootId } }, { signal });
  } catch (error) {
    // Nothing is lost: unstarted offers expire by themselves.
    boot.options.log("warn", "drain_unheard", { reason: errorText(error) });
  }
}

function leaseWork(boot: Boot, stopSignal: AbortSignal): LeaseWork {
  const { options: { settings, state, log } } = boot;
  return {
    ...boot,
    log,
    stopSignal,
    loginFor: (sealed) => loginFor(sealed, state.path),
    refuseKind: (kind) => refuseKind(settings.policy, kind),
  };
}

function expectationOf(boot: Boot): (claimId: ClaimId) => Promise<LeaseExpectation> {
  const { options: { identity }, controlPlane, trust, drivers } = boot;
  const epochs = new SeenEpochs();
  return async (claimId) => {
    const session = await controlPlane.session({ signal: AbortSignal.timeout(10_000) });
    return {
      issuer: identity.issuer,
      agentId: identity.agentId,
      bootId: boot.bootId,
      claimId,
      siteIds: session.siteIds,
      incarnation: session.incarnation,
      signingKeys: trust.signingKeys,
      findSigningKey: (kid) => trust.signingKey(kid),
      sealKeys: boot.keys.sealKeys,
      epochs,
      findDriver: (wanted) => drivers.find(wanted),
    };
  };
}

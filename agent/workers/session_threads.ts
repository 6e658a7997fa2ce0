import { systemClock } from "../clock.ts";
import { compilePolicy, type LocalPolicy } from "../local_policy.ts";
import type { Log } from "../log.ts";
import type { SessionOptions } from "../session/order.ts";
import type { ReportOf, SessionOrder } from "../session/session.ts";
import { resolveAddresses } from "../ssh/address.ts";
import { abortError, DeviceError } from "../ssh/ssh_failure.ts";
import { SessionThread, type ThreadEnd, type ThreadLimits } from "./session_thread.ts";

/** With more sessions than this in the first thread, the second one starts; each costs some 20 MB. */
const FULL_SESSIONS = 16;
/** How long sessions may take to end by themselves once this agent is fenced: well within the fence's margin. */
const WIPE_MS = 1_000;
/** Each goes on using a core for good: only an end of the process stops a thread whose turn never ends. */
const MOST_STUCK = 3;
const BACK_OFF_MS = { base: 250, cap: 30_000 };
const LIMITS: ThreadLimits = { stallMs: 60_000, mostMib: 1_024 };

/** A place for a thread, which outlives the thread. */
interface Slot {
  thread: SessionThread | undefined;
  /** Threads that ended by a fault, with no session completed since. */
  faults: number;
  readyAtMs: number;
}

export interface ThreadOptions {
  readonly limits?: Partial<ThreadLimits>;
  readonly threads?: 1 | 2;
  /** From how many sessions on the second thread starts. */
  readonly fullSessions?: number;
  /** Other code than a session thread's own, for tests of what it could do. */
  readonly url?: string;
}

/** What runs sessions: the agent's threads, or a test's own. */
export interface SessionRunner {
  run<Order extends SessionOrder>(
    order: Order,
    options: SessionOptions,
  ): Promise<ReportOf<Order>>;
}

/**
 * The one or two threads in which all sessions run. The second one starts when the first one has much to do or is
 * blocked, so that a hostile device holds up those beside it and nobody else.
 */
export class SessionThreads implements SessionRunner {
  readonly #policy: LocalPolicy;
  readonly #allows: ReturnType<typeof compilePolicy>;
  readonly #log: Log;
  readonly #limits: ThreadLimits;
  readonly #fullSessions: number;
  readonly #url: string | undefined;
  readonly #onStuck: () => void;
  #stuck = 0;
  readonly #slots: readonly [Slot, ...Slot[]];
  readonly #retiring = new Set<SessionThread>();
  readonly #wiping = new Map<SessionThread, ReturnType<typeof setTimeout>>();
  #closed = false;

  constructor(
    options: ThreadOptions & {
      readonly policy: LocalPolicy;
      readonly log: Log;
      /** Told once when so many threads are blocked for good that this process should be started again. */
      readonly onStuck?: () => void;
    },
  ) {
    this.#policy = options.policy;
    this.#allows = compilePolicy(options.policy);
    this.#log = options.log;
    this.#limits = { ...LIMITS, ...options.limits };
    this.#fullSessions = options.fullSessions ?? FULL_SESSIONS;
    this.#url = options.url;
    this.#onStuck = options.onStuck ?? (() => {});
    this.#slots = options.threads === 1 ? [emptySlot()] : [emptySlot(), emptySlot()];
  }

  /**
   * Runs a session. The name is looked up here, so that a thread which may only reach the policy's networks needs no
   * resolver; the thread asks the policy again about the address it connects to.
   */
  async run<Order extends SessionOrder>(
    order: Order,
    options: SessionOptions,
  ): Promise<ReportOf<Order>> {
    const { signal } = options;
    const { host, port } = order.target;
    if (signal.aborted) throw abortError(signal);
    const addresses = await resolveAddresses(host, {
      signal,
      seconds: order.limits.connectSeconds,
      allowAddress: (address) => this.#allows({ address, port }),
    });
    let slot = this.#bestSlot();
    while (!slot) {
      await this.#pause(signal);
      slot = this.#bestSlot();
    }
    // Without a pause in between: sessions that begin in the same moment see each other, and do not all choose one thread.
    const thread = slot.thread ??= this.#start(slot);
    const report = await thread.run({ ...order, addresses }, options);
    slot.faults = 0;
    // Its kind is that of the order: `whatIsWrong` has looked.
    return report as ReportOf<Order>;
  }

  /** Starts the first thread, so that the first session need not wait for it, and a fault shows at once. */
  warmUp(): void {
    const [slot] = this.#slots;
    if (this.#closed || slot.readyAtMs > performance.now()) return;
    slot.thread ??= this.#start(slot);
  }

  /**
   * The fence holds: sessions may go on for another second. Once it was said, they stand still when it is said no more, so
   * that none goes on after the fence while the main thread is blocked, or the process was stopped.
   */
  hold(): void {
    for (const { thread } of this.#slots) thread?.hold();
  }

  /**
   * The agent is fenced: every thread that had a session touches no device any more, and ends within a second, with what it
   * knows. A new one stands ready for when the fence lifts. Safe to call again.
   */
  wipe(): void {
    for (const slot of this.#slots) {
      const { thread } = slot;
      if (!thread?.used) continue;
      slot.thread = undefined;
      if (thread.size === 0) {
        thread.end("wiped");
        continue;
      }
      thread.giveUp();
      this.#retiring.add(thread);
      this.#wiping.set(thread, setTimeout(() => thread.end("wiped"), WIPE_MS));
    }
    this.warmUp();
  }

  /** Ends every thread at once; no session runs after it. */
  close(): void {
    this.#closed = true;
    for (const { thread } of this.#slots) thread?.end("closed");
    for (const thread of this.#retiring) thread.end("closed");
  }

  #start(slot: Slot): SessionThread {
    const thread: SessionThread = new SessionThread({
      policy: this.#policy,
      limits: this.#limits,
      url: this.#url,
      onEnd: (end) => this.#ended(slot, { thread, end }),
    });
    return thread;
  }

  #ended(slot: Slot, { thread, end }: { thread: SessionThread; end: ThreadEnd }): void {
    clearTimeout(this.#wiping.get(thread));
    // However it ended: being fenced is nobody's fault.
    const wiped = this.#wiping.delete(thread);
    this.#retiring.delete(thread);
    if (slot.thread === thread) slot.thread = undefined;
    if (wiped || end.why === "closed" || end.why === "wiped") return;
    slot.faults += 1;
    const { base, cap } = BACK_OFF_MS;
    slot.readyAtMs = performance.now() + Math.min(cap, base * 2 ** (slot.faults - 1));
    const { why, detail, culprit, sessions } = end;
    this.#log("error", "session_thread_ended", { why, detail, device: culprit, sessions });
    if (why === "stalled" && ++this.#stuck === MOST_STUCK) this.#onStuck();
  }

  /** Sessions that are there already; starting a thread is worth as much as a good number of them. */
  #cost({ thread }: Slot): number {
    if (!thread) return this.#fullSessions;
    return thread.size + (thread.blocked ? 1_000 : 0);
  }

  /** Where a session goes that begins now; undefined when every thread ended by a fault a moment ago. */
  #bestSlot(): Slot | undefined {
    if (this.#closed) throw new DeviceError("lease_lost");
    const now = performance.now();
    return this.#slots.filter((slot) => slot.thread ?? slot.readyAtMs <= now)
      .toSorted((one, other) => this.#cost(one) - this.#cost(other))[0];
  }

  /** Until the next place is ready. */
  async #pause(signal: AbortSignal): Promise<void> {
    const readyAtMs = Math.min(...this.#slots.map((slot) => slot.readyAtMs));
    await systemClock.sleep(readyAtMs - performance.now(), { signal });
    if (signal.aborted) throw abortError(signal);
  }
}

function emptySlot(): Slot {
  return { thread: undefined, faults: 0, readyAtMs: 0 };
}

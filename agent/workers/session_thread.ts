import type { FailureCode } from "@rookery/shared/jobs/failure.ts";
import type { LocalPolicy } from "../local_policy.ts";
import type { OnStep, SessionOptions } from "../session/order.ts";
import type { SessionOrder, SessionReport } from "../session/session.ts";
import { abortError, DeviceError } from "../ssh/ssh_failure.ts";
import { whatIsWrong } from "./check_report.ts";
import { FromThread, type SentOrder, type ToThread } from "./messages.ts";
import { Pulse } from "./pulse.ts";
import { startWorker } from "./start_worker.ts";

const LOOK_MS = 250;
/** From here on a thread counts as blocked, and new sessions go to another one. */
const BLOCKED_MS = 500;
/** How long a thread may take until it works, on the slowest machine at its busiest. */
const START_MS = 60_000;
/** How long all sessions of a thread may take to end once told to: less when it does not even listen. */
const ABORT_MS = { blocked: 1_000, listening: 3_000 };
/** A session has limits of its own; one that passes them by so much will not end by itself. */
const OVERTIME_MS = 30_000;

export interface ThreadLimits {
  /** A thread whose event loop stands still for longer is ended. */
  readonly stallMs: number;
  /** A thread that uses more memory is ended. */
  readonly mostMib: number;
}

/** Why a thread ended; `crashed` and the rest are somebody's fault, `wiped` and `closed` nobody's. */
export type ThreadEndReason =
  | "crashed"
  | "stalled"
  | "too_much_memory"
  | "unanswered"
  | "untrustworthy"
  | "aborted"
  | "wiped"
  | "closed";

export interface ThreadEnd {
  readonly why: ThreadEndReason;
  readonly detail: string;
  /** `host:port` of the device whose turn it was, if that is known. */
  readonly culprit: string | undefined;
  readonly sessions: number;
}

interface Running {
  readonly order: SentOrder;
  readonly where: string;
  readonly dueAtMs: number;
  readonly result: PromiseWithResolvers<SessionReport>;
  readonly signal: AbortSignal;
  readonly onStep: OnStep | undefined;
  abortedAtMs: number | undefined;
}

/**
 * One worker and the sessions in it, from its start to its end. When it ends before its sessions, each of them fails: the one
 * whose turn it was as the culprit, the others as bystanders that are tried again.
 */
export class SessionThread {
  readonly #limits: ThreadLimits;
  readonly #onEnd: (end: ThreadEnd) => void;
  readonly #worker: Worker;
  readonly #pulse = new Pulse();
  readonly #running = new Map<number, Running>();
  #timer: ReturnType<typeof setInterval> | undefined;
  #lastId = 0;
  #ticks = 0;
  #silentMs = 0;
  #ended = false;

  constructor(options: {
    readonly policy: LocalPolicy;
    readonly limits: ThreadLimits;
    readonly onEnd: (end: ThreadEnd) => void;
    /** Other code than a session thread's own, for tests of what it could do. */
    readonly url?: string | undefined;
  }) {
    this.#limits = options.limits;
    this.#onEnd = options.onEnd;
    this.#worker = startWorker(options.policy, options.url);
    this.#worker.onmessage = ({ data }: MessageEvent<unknown>) => void this.#hear(data);
    this.#worker.onmessageerror = () => this.end("untrustworthy", "a message could not be read");
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.end("crashed", event.message);
    };
    this.#post({ type: "open", pulse: this.#pulse.memory, policy: options.policy });
  }

  /** Sessions that have not ended. */
  get size(): number {
    return this.#running.size;
  }

  /** Whether it ever had a session: one that had none knows no secret. */
  get used(): boolean {
    return this.#lastId > 0;
  }

  /** Whether its event loop stands still; one that is still starting does not count. */
  get blocked(): boolean {
    return this.#pulse.ticks > 0 && this.#silentMs >= BLOCKED_MS;
  }

  /** Lets its sessions go on for another second, see `Pulse.untilHeld`. */
  hold(): void {
    this.#pulse.hold();
  }

  /** Runs a session in the thread; an aborted signal ends it as it ends `runSession`. */
  async run(
    { credential, allowAddress: _, ...sent }: SessionOrder,
    { signal, onStep }: SessionOptions,
  ): Promise<SessionReport> {
    if (signal.aborted) throw abortError(signal);
    const id = ++this.#lastId;
    const order = sent as SentOrder;
    const { host, port } = order.target;
    const running: Running = {
      order,
      where: `${host}:${port}`,
      dueAtMs: performance.now() + order.limits.totalSeconds * 1_000 + OVERTIME_MS,
      result: Promise.withResolvers<SessionReport>(),
      signal,
      onStep,
      abortedAtMs: undefined,
    };
    const abort = () => this.#abort(id, running);
    signal.addEventListener("abort", abort, { once: true });
    this.#running.set(id, running);
    this.#timer ??= setInterval(() => this.#look(), LOOK_MS);
    const bytes = new TextEncoder().encode(JSON.stringify(credential));
    this.#post({ type: "run", id, order, credential: bytes }, [bytes.buffer]);
    try {
      return await running.result.promise;
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }

  /** From now on no session of the thread touches its device, also one that was blocked and has not heard of its end. */
  giveUp(): void {
    this.#pulse.giveUp();
  }

  /**
   * Ends the thread with all that it holds: sockets, credentials, unlocked keys. Deno 2.9.6 does that between two turns of the
   * thread's loop: one that is blocked is ended when its turn is over, and touches no device until then. Safe to call again.
   */
  end(why: ThreadEndReason, detail = ""): void {
    if (this.#ended) return;
    this.#ended = true;
    clearInterval(this.#timer);
    this.#pulse.giveUp();
    this.#worker.terminate();
    const sessions = [...this.#running];
    const guilty = this.#guilty(why);
    this.#running.clear();
    for (const [id, running] of sessions) {
      running.result.reject(failureOf(running, { why, guilty: id === guilty }));
    }
    const culprit = sessions.find(([id]) => id === guilty)?.[1].where;
    this.#onEnd({ why, detail, culprit, sessions: sessions.length });
  }

  /** The session whose turn it was; the only one there is, when it did not say. */
  #guilty(why: ThreadEndReason): number | undefined {
    if (!["crashed", "stalled", "too_much_memory"].includes(why)) return undefined;
    if (this.#running.has(this.#pulse.sessionId)) return this.#pulse.sessionId;
    const [only] = this.#running.keys();
    return this.#running.size === 1 && this.#pulse.ticks > 0 ? only : undefined;
  }

  #post(message: ToThread, transfer: ArrayBuffer[] = []): void {
    this.#worker.postMessage(message, transfer);
  }

  #abort(id: number, running: Running): void {
    running.abortedAtMs = performance.now();
    if (!this.#ended) this.#post({ type: "abort", id, code: abortError(running.signal).code });
  }

  async #hear(data: unknown): Promise<void> {
    if (this.#ended) return;
    const parsed = FromThread.safeParse(data);
    if (!parsed.success || parsed.data.id > this.#lastId) {
      return this.end("untrustworthy", "it said what no session thread says");
    }
    const running = this.#running.get(parsed.data.id);
    if (!running) return this.end("untrustworthy", "it answered for a session that it has not");
    await this.#settle(parsed.data, running);
  }

  async #settle(message: FromThread, running: Running): Promise<void> {
    const { id } = message;
    if (message.type === "progress") return running.onStep?.(message.step, message.percent);
    if (message.type === "completed") {
      const wrong = await whatIsWrong(message.report, running.order);
      if (wrong !== undefined) return this.end("untrustworthy", `of ${running.where}: ${wrong}`);
      // Ended meanwhile: it has been rejected.
      if (!this.#running.has(id)) return;
      this.#forget(id);
      return running.result.resolve(message.report as SessionReport);
    }
    this.#forget(id);
    if (message.type === "faulted") return running.result.reject(new Error(message.message));
    const { code, message: text, hostKey } = message;
    running.result.reject(new DeviceError(code, text, hostKey ? { hostKey } : {}));
  }

  #forget(id: number): void {
    this.#running.delete(id);
    if (this.#running.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#silentMs = 0;
  }

  /** In looks and not by the clock: while the main thread itself stood still, nobody knows what this one did. */
  #look(): void {
    const { ticks, heapMib } = this.#pulse;
    this.#silentMs = ticks === this.#ticks ? this.#silentMs + LOOK_MS : 0;
    this.#ticks = ticks;
    const { mostMib } = this.#limits;
    const stallMs = ticks === 0 ? START_MS : this.#limits.stallMs;
    if (this.#silentMs >= stallMs) return this.end("stalled", `for ${stallMs / 1_000} s`);
    const usedMib = this.blocked ? Deno.memoryUsage().rss / 1_048_576 - mostMib : heapMib;
    if (usedMib > mostMib) return this.end("too_much_memory", `${Math.round(usedMib)} MiB`);
    this.#lookAtSessions(performance.now());
  }

  #lookAtSessions(now: number): void {
    const sessions = [...this.#running.values()];
    const ms = this.blocked ? ABORT_MS.blocked : ABORT_MS.listening;
    // Only when nobody else's work is lost by it.
    if (sessions.every(({ abortedAtMs }) => now - (abortedAtMs ?? now) >= ms)) {
      return this.end("aborted", "its sessions did not end when told to");
    }
    const late = sessions.find(({ dueAtMs }) => now > dueAtMs);
    if (late) this.end("unanswered", `the session with ${late.where} passed all its limits`);
  }
}

function failureOf(
  { signal, where }: Running,
  { why, guilty }: { why: ThreadEndReason; guilty: boolean },
): DeviceError {
  if (signal.aborted) return abortError(signal);
  if (why === "wiped" || why === "closed") return new DeviceError("lease_lost");
  const code: FailureCode = guilty ? "session_disruptive" : "agent_fault";
  const message = guilty
    ? `Cannot go on with ${where}: ${DISRUPTIONS[why] ?? "its session disturbed the others"}`
    : `Cannot go on with ${where}: the thread of its session was ended because of another one`;
  return new DeviceError(code, message);
}

const DISRUPTIONS: Partial<Record<ThreadEndReason, string>> = {
  crashed: "the thread of its session crashed while it was its turn",
  stalled: "it kept the thread of its session busy for too long",
  too_much_memory: "its session used too much memory",
};

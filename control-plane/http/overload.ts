import {
  claimLeases,
  drainAgent,
  hasBlob,
  openAgentSession,
  putBlob,
  releaseLeaseOfAgent,
  reportResult,
  sendChangeHints,
  sendHeartbeat,
} from "@rookery/shared/api/agent_protocol.ts";
import type { AnyEndpoint } from "@rookery/shared/endpoint.ts";
import { ProblemError } from "@rookery/shared/problem.ts";

/** What agents ask for, least important first: that is the order in which it is refused. */
export type LoadClass = "hints" | "claims" | "blobs" | "heartbeats" | "results";

interface ClassLimits {
  /** Refused while the oldest request that waits for a database connection has waited this long. */
  readonly waitMs: number;
  /** At the same time, not counting claims that are held. */
  readonly inFlight: number;
  /** Spread over these, so that those who were refused together do not come back together. */
  readonly retrySeconds: readonly [from: number, to: number];
  /** When many are refused they are spread further, up to this. Default: the end of `retrySeconds`. */
  readonly longestRetrySeconds?: number;
}

export const LOAD_LIMITS: Readonly<Record<LoadClass, ClassLimits>> = {
  hints: { waitMs: 250, inFlight: 50, retrySeconds: [10, 60] },
  claims: { waitMs: 500, inFlight: 200, retrySeconds: [2, 15], longestRetrySeconds: 120 },
  blobs: { waitMs: 1_000, inFlight: 50, retrySeconds: [2, 10] },
  // A lease survives two lost heartbeats.
  heartbeats: { waitMs: 3_000, inFlight: 1_000, retrySeconds: [1, 5] },
  results: { waitMs: 6_000, inFlight: 1_000, retrySeconds: [1, 5] },
};

const CLASSES: ReadonlyMap<AnyEndpoint, LoadClass> = new Map<AnyEndpoint, LoadClass>([
  [sendChangeHints, "hints"],
  [claimLeases, "claims"],
  [hasBlob, "blobs"],
  [putBlob, "blobs"],
  [openAgentSession, "heartbeats"],
  [sendHeartbeat, "heartbeats"],
  [reportResult, "results"],
  [releaseLeaseOfAgent, "results"],
  [drainAgent, "results"],
]);

/** Ten thousand agents that come back every few seconds are a load of their own, which would never end. */
const RETURNS_PER_SECOND = 50;
const REFUSALS_REMEMBERED_MS = 15_000;

const TICK_MS = 200;
/** A loop that is late by so much, again and again, counts as a database that lets wait by a quarter of it. */
const LOOP_SHARE = 0.25;
const TICKS = 5;

/**
 * Refuses work while there is too much of it: hints of changes first, then claims, then blobs, heartbeats, and results last. It is measured by
 * how long requests wait for a database connection, how late timers fire, and how many of a class are under way.
 * People's calls and health checks are never refused here.
 */
export class Overload implements Disposable {
  readonly #poolWaitMs: () => number;
  readonly #inFlight = new Map<LoadClass, number>();
  readonly #refused = new Map<LoadClass, { count: number; since: number }>();
  readonly #lateness: number[] = [];
  readonly #timer: ReturnType<typeof setInterval>;
  #tickedAt = performance.now();

  constructor(poolWaitMs: () => number) {
    this.#poolWaitMs = poolWaitMs;
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
  }

  /** How long a request waits now, in milliseconds. */
  get pressureMs(): number {
    const late = this.#lateness.length < TICKS ? 0 : Math.min(...this.#lateness);
    return Math.max(this.#poolWaitMs(), late * LOOP_SHARE);
  }

  /** Whether no more of a class is taken now. */
  refuses(kind: LoadClass): boolean {
    const { waitMs, inFlight } = LOAD_LIMITS[kind];
    return this.pressureMs >= waitMs || (this.#inFlight.get(kind) ?? 0) >= inFlight;
  }

  /** Counts a request in, or throws `overloaded`; what is returned must be called when the request has ended. */
  enter(endpoint: AnyEndpoint): () => void {
    const kind = CLASSES.get(endpoint);
    if (!kind) return () => {};
    if (this.refuses(kind)) throw refusal(kind, this.#noteRefusal(kind));
    this.#add(kind, 1);
    return () => this.#add(kind, -1);
  }

  /** Waits for something without being counted: a claim that is held costs nothing. */
  async rest(kind: LoadClass, wait: Promise<void>): Promise<void> {
    this.#add(kind, -1);
    try {
      await wait;
    } finally {
      this.#add(kind, 1);
    }
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  #add(kind: LoadClass, count: number): void {
    this.#inFlight.set(kind, (this.#inFlight.get(kind) ?? 0) + count);
  }

  /** How many of a class were refused of late. */
  #noteRefusal(kind: LoadClass): number {
    const now = performance.now();
    const known = this.#refused.get(kind);
    const isOld = !known || now - known.since > REFUSALS_REMEMBERED_MS;
    const refused = isOld ? { count: 1, since: now } : { ...known, count: known.count + 1 };
    this.#refused.set(kind, refused);
    return refused.count;
  }

  #tick(): void {
    const now = performance.now();
    this.#lateness.push(now - this.#tickedAt - TICK_MS);
    if (this.#lateness.length > TICKS) this.#lateness.shift();
    this.#tickedAt = now;
  }
}

function refusal(kind: LoadClass, refused: number): ProblemError {
  const { retrySeconds: [from, to], longestRetrySeconds = to } = LOAD_LIMITS[kind];
  const needed = Math.ceil(refused / RETURNS_PER_SECOND);
  const until = Math.min(longestRetrySeconds, Math.max(to, needed));
  return new ProblemError("overloaded", `The control plane is busy and takes no ${kind} now.`, {
    retryAfterSeconds: spread([from, until]),
  });
}

/** Whole seconds between two numbers, so that callers who were refused together come back one by one. */
export function spread([from, to]: readonly [from: number, to: number]): number {
  return from + Math.floor(Math.random() * (to - from + 1));
}

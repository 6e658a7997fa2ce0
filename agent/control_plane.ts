import { call, type CallOptions } from "@rookery/shared/client.ts";
import { openAgentSession, PROTOCOL_VERSION } from "@rookery/shared/api/agent_protocol.ts";
import { JOB_KINDS } from "@rookery/shared/jobs/mod.ts";
import { driverDigests } from "@rookery/shared/drivers/mod.ts";
import type { WantedDriver } from "@rookery/shared/drivers/signed_driver.ts";
import type { BootId, Sha256, SiteId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import type { AnyEndpoint, CallInput, CallReply } from "@rookery/shared/endpoint.ts";
import type { Clock } from "./clock.ts";
import { makeProof, type ProofKey } from "./dpop.ts";
import { AGENT_VERSION } from "./version.ts";

/** A token is renewed when this much of its life is over. */
const RENEW_SHARE = 0.8;
/** A heartbeat must not wait longer for a session than for its own answer. */
const OPENING_MS = 10_000;

export type Send = (request: Request) => Promise<Response>;

export interface AgentBoot {
  readonly bootId: BootId;
  readonly sequence: number;
  readonly capacity: number;
}

/** What the control plane last said about this agent's session. */
export interface SessionState {
  readonly accessToken: string;
  readonly renewAtMs: number;
  readonly ttlSeconds: number;
  readonly heartbeatSeconds: number;
  readonly siteIds: readonly SiteId[];
  readonly incarnation: number;
  readonly keyGeneration: number;
  /** New keys are wanted. */
  readonly rotateKeys: boolean;
  /** Drivers that are wanted here, and not reported. */
  readonly drivers: readonly WantedDriver[];
  readonly openedAtMs: number;
}

/** What this agent says that it can run. */
const KINDS = Object.keys(JOB_KINDS);

/** The version, protocol and driver digests of this agent, as it reports them. */
export async function ownVersions(digests = driverDigests) {
  return {
    agentVersion: AGENT_VERSION,
    protocolVersion: PROTOCOL_VERSION,
    drivers: await digests(),
  };
}

/**
 * Sends with a DPoP proof. The server hands out a nonce with every reply; a request that is refused for its
 * nonce is sent once more with the new one, which is how a first request always goes.
 */
export class ProvenSender {
  readonly #key: ProofKey;
  readonly #send: Send;
  #nonce: string | undefined;

  constructor(key: ProofKey, send: Send) {
    this.#key = key;
    this.#send = send;
  }

  async send(request: Request, accessToken?: string): Promise<Response> {
    const again = request.clone();
    const first = await this.#sendOnce(request, accessToken);
    if (first.status !== 401 || !asksForNonce(first)) {
      await again.body?.cancel();
      return first;
    }
    await first.body?.cancel();
    return await this.#sendOnce(again, accessToken);
  }

  async #sendOnce(request: Request, accessToken: string | undefined): Promise<Response> {
    const proof = await makeProof(this.#key, {
      method: request.method,
      url: request.url,
      ...(this.#nonce === undefined ? {} : { nonce: this.#nonce }),
      ...(accessToken === undefined ? {} : { accessToken }),
    });
    request.headers.set("dpop", proof);
    if (accessToken !== undefined) request.headers.set("authorization", `DPoP ${accessToken}`);
    const response = await this.#send(request);
    this.#nonce = response.headers.get("dpop-nonce") ?? this.#nonce;
    return response;
  }
}

/** The control plane does not want this agent any more: trying again would change nothing. */
export function isDismissal(error: unknown): error is ProblemError {
  return error instanceof ProblemError && error.type === "agent-revoked";
}

/**
 * A person has to decide about this agent first, or to update it or the control plane: it waits with all that its spool holds,
 * so that nobody has to visit it afterwards.
 */
export function isDecisionPending(error: unknown): error is ProblemError {
  return error instanceof ProblemError &&
    ["agent-locked", "agent-pending", "agent-too-old"].includes(error.type);
}

/** How long to wait for a person before asking once more. */
export function patienceMs(tries: number): number {
  return Math.min(60_000, 5_000 * 2 ** Math.min(tries, 10)) * (0.5 + Math.random() / 2);
}

/** RFC 9449, section 8: the server's way of handing out the first nonce. */
function asksForNonce(response: Response): boolean {
  return /error="use_dpop_nonce"/.test(response.headers.get("www-authenticate") ?? "");
}

/**
 * Everything the agent says to the control plane. Opens its session when it needs one, renews the token
 * before it ends, and opens the session again when the control plane has forgotten it.
 */
export class ControlPlane {
  readonly #base: string;
  readonly #send: Send;
  #sender: ProvenSender;
  readonly #boot: AgentBoot;
  readonly #clock: Clock;
  readonly #onSession: (session: SessionState) => void;
  readonly #drivers: () => Promise<Readonly<Record<string, Sha256>>>;
  #session: ProvenSession | undefined;
  #opening: Promise<ProvenSession> | undefined;
  readonly #closing = new AbortController();

  constructor(options: {
    base: string;
    key: ProofKey;
    send: Send;
    boot: AgentBoot;
    clock: Clock;
    /** Told of every session that was opened or renewed. */
    onSession?: (session: SessionState) => void;
    /** The digests to report. Default: those of the drivers that ship. */
    drivers?: () => Promise<Readonly<Record<string, Sha256>>>;
  }) {
    this.#base = options.base;
    this.#send = options.send;
    this.#sender = new ProvenSender(options.key, options.send);
    this.#boot = options.boot;
    this.#clock = options.clock;
    this.#onSession = options.onSession ?? (() => {});
    this.#drivers = options.drivers ?? driverDigests;
  }

  /** Calls an endpoint under the agent's session; throws ProblemError for a refusal. */
  async call<E extends AnyEndpoint>(
    endpoint: E,
    input: CallInput<E>,
    options: CallOptions & { signal: AbortSignal },
  ): Promise<CallReply<E>> {
    const session = await this.#sessionInForce(options);
    try {
      return await callUnder(session, this.#base, { endpoint, input, options });
    } catch (error) {
      if (!(error instanceof ProblemError) || error.type !== "session-required") throw error;
    }
    // The session died while we were away: the same boot may open it again and keeps what it still holds.
    if (this.#session === session) this.#session = undefined;
    const fresh = await this.#sessionInForce(options);
    return await callUnder(fresh, this.#base, { endpoint, input, options });
  }

  /** Goes on with another key: the next call opens a session by it. */
  async useKey(key: ProofKey): Promise<void> {
    while (this.#opening) await this.#opening.catch(() => {});
    this.#sender = new ProvenSender(key, this.#send);
    this.#session = undefined;
  }

  /** Opens the session again now: what it reports has changed. */
  async renew(options: { signal: AbortSignal }): Promise<void> {
    while (this.#opening) await this.#opening.catch(() => {});
    this.#session = undefined;
    await this.#sessionInForce(options);
  }

  /**
   * The session in force, opened or renewed when need be. One opening, with a limit of its own, serves all who wait
   * for it, each for as long as its own signal lets it.
   */
  session(options: { signal: AbortSignal }): Promise<SessionState> {
    return this.#sessionInForce(options);
  }

  async #sessionInForce({ signal }: { signal: AbortSignal }): Promise<ProvenSession> {
    if (this.#session && this.#clock.now() < this.#session.renewAtMs) return this.#session;
    if (!this.#opening) {
      const opening = this.#open().finally(() => this.#opening = undefined);
      // All who waited may have gone when it fails; the next one opens anew.
      opening.catch(() => {});
      this.#opening = opening;
    }
    return await orAborted(this.#opening, signal);
  }

  /** Gives up what is still on its way; the agent ends. */
  close(): void {
    this.#closing.abort(new Error("The agent ends"));
  }

  async #open(): Promise<ProvenSession> {
    const sender = this.#sender;
    const signal = AbortSignal.any([this.#closing.signal, AbortSignal.timeout(OPENING_MS)]);
    const { bootId, sequence, capacity } = this.#boot;
    const openedAtMs = this.#clock.now();
    const reply = await call(
      (request) => sender.send(request),
      this.#base,
      openAgentSession,
      { body: { bootId, sequence, capacity, kinds: KINDS, ...await ownVersions(this.#drivers) } },
      { signal },
    );
    this.#session = {
      ...reply,
      sender,
      openedAtMs,
      renewAtMs: openedAtMs + reply.expiresInSeconds * 1_000 * RENEW_SHARE,
    };
    this.#onSession(this.#session);
    return this.#session;
  }
}

/** A session and the key it was opened by: its token is worth nothing with another. */
interface ProvenSession extends SessionState {
  readonly sender: ProvenSender;
}

function callUnder<E extends AnyEndpoint>(
  { sender, accessToken }: ProvenSession,
  base: string,
  { endpoint, input, options }: { endpoint: E; input: CallInput<E>; options: CallOptions },
): Promise<CallReply<E>> {
  return call((request) => sender.send(request, accessToken), base, endpoint, input, options);
}

/** The promise's value, or the signal's reason, whichever comes first. */
async function orAborted<Value>(promise: Promise<Value>, signal: AbortSignal): Promise<Value> {
  signal.throwIfAborted();
  const aborted = Promise.withResolvers<never>();
  const abort = () => aborted.reject(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  try {
    return await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

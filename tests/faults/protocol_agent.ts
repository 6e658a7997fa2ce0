/** An agent that is nothing but its side of the protocol: real keys, proofs, tokens, uploads and results, no sessions. */
import { Buffer } from "node:buffer";
import { createHash, randomUUID, sign } from "node:crypto";
import { type LeaseClaims } from "@rookery/shared/jobs/lease.ts";
import { RESULT_TYPE } from "@rookery/shared/jobs/result.ts";
import { sealingKey, signingKey, type SimKey } from "../bench/agents/sim_keys.ts";

export type Body = Record<string, unknown>;

/** The control plane said no; `status` is that of HTTP. */
export class RefusedError extends Error {
  override name = "RefusedError";
  readonly status: number;
  readonly type: string;
  readonly retryAfterSeconds: number;

  constructor(status: number, { type = "", detail = "" }: Body, retryAfter: string | null) {
    super(`${status} ${type}: ${detail}`);
    this.status = status;
    this.type = String(type);
    this.retryAfterSeconds = Number(retryAfter ?? 1);
  }
}

/** An answer that does not come is not waited for longer. */
const PATIENCE_MS = 8_000;

function part(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}

export interface ProtocolAgentOptions {
  readonly publicUrl: string;
  readonly drivers: Readonly<Record<string, string>>;
  readonly number: number;
  readonly sequence: number;
  readonly capacity: number;
}

/** One boot. */
export class ProtocolAgent {
  readonly bootId: string = randomUUID();
  ttlSeconds = 30;
  /** Until when it may believe that it is heard, by `performance.now()`. */
  heardUntil = 0;
  readonly #options: ProtocolAgentOptions;
  readonly #key: SimKey;
  readonly #proofHeader: string;
  #nonce: string | undefined;
  #token = "";
  #renewAt = 0;

  constructor(options: ProtocolAgentOptions) {
    this.#options = options;
    this.#key = signingKey(options.number);
    this.#proofHeader = part({ alg: "Ed25519", typ: "dpop+jwt", jwk: this.#key.publicJwk });
  }

  async enroll(joinToken: string): Promise<string> {
    const { drivers } = this.#options;
    const keys = { signJwk: this.#key.publicJwk, sealJwk: sealingKey().publicJwk };
    const body = { joinToken, ...keys, drivers, ...VERSIONS };
    return String((await this.#call("POST", "enroll", { body, token: false })).agentId);
  }

  async #openSession(): Promise<void> {
    const { sequence, capacity, drivers } = this.#options;
    const boot = { bootId: this.bootId, sequence, capacity, drivers, ...VERSIONS };
    const sentAt = performance.now();
    const session = await this.#call("POST", "session", { body: boot, token: false });
    this.#token = String(session.accessToken);
    this.#renewAt = performance.now() + Number(session.expiresInSeconds) * 800;
    this.#heard(sentAt, session);
  }

  #heard(sentAt: number, { ttlSeconds }: Body): void {
    this.ttlSeconds = Number(ttlSeconds);
    this.heardUntil = Math.max(this.heardUntil, sentAt + this.ttlSeconds * 850);
  }

  async heartbeat(leaseIds: readonly string[]): Promise<Body> {
    const sentAt = performance.now();
    const reply = await this.#inSession("POST", "heartbeat", { bootId: this.bootId, leaseIds });
    this.#heard(sentAt, reply);
    return reply;
  }

  async claim(order: { claimId: string; wanted: number; waitSeconds: number }): Promise<Claims[]> {
    const body = { bootId: this.bootId, ...order };
    const patienceMs = order.waitSeconds * 1_000 + PATIENCE_MS;
    const { leases } = await this.#inSession("POST", "claim", body, patienceMs);
    return (leases as { lease: string }[]).map(({ lease }) =>
      JSON.parse(Buffer.from(lease.split(".")[1] ?? "", "base64url").toString())
    );
  }

  async upload({ jti }: Claims, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    const digest = createHash("sha256").update(bytes).digest("hex");
    await this.#inSession("PUT", `leases/${jti}/blobs/${digest}`, bytes);
  }

  /** The envelope, to be delivered as often as it takes. */
  signResult(claims: Claims, report: Body): string {
    const { aud: iss, iss: aud, sub, jti, siteId, epoch, bootId, incarnation } = claims;
    const lease = { iss, aud, sub, jti, siteId, epoch, bootId, incarnation };
    const header = part({ alg: "Ed25519", typ: RESULT_TYPE });
    const payload = part({ ...lease, report, durationMs: 7, agentVersion: VERSIONS.agentVersion });
    return this.#sign(`${header}.${payload}`);
  }

  async deliver({ jti }: Claims, result: string): Promise<string> {
    const { answer } = await this.#inSession("POST", `leases/${jti}/result`, { result });
    return String(answer);
  }

  #sign(text: string): string {
    return `${text}.${sign(null, Buffer.from(text), this.#key.privateKey).toString("base64url")}`;
  }

  /** Opens the session when need be, and again when the control plane has forgotten it. */
  async #inSession(
    method: string,
    path: string,
    body: Body | Uint8Array<ArrayBuffer>,
    patienceMs = PATIENCE_MS,
  ): Promise<Body> {
    if (performance.now() > this.#renewAt) await this.#openSession();
    try {
      return await this.#call(method, path, { body, patienceMs });
    } catch (error) {
      if (!(error instanceof RefusedError) || error.type !== "session-required") throw error;
    }
    await this.#openSession();
    return await this.#call(method, path, { body, patienceMs });
  }

  async #call(method: string, path: string, request: Request): Promise<Body> {
    const first = await this.#once(method, path, request);
    if (first.ok) return await readBody(first);
    const stale = first.headers.get("www-authenticate")?.includes("use_dpop_nonce");
    const reply = stale ? await this.#once(method, path, request) : first;
    if (stale) await first.body?.cancel();
    if (reply.ok) return await readBody(reply);
    throw new RefusedError(
      reply.status,
      await readBody(reply).catch(() => ({})),
      reply.headers.get("retry-after"),
    );
  }

  async #once(
    method: string,
    path: string,
    { body, token = true, patienceMs = PATIENCE_MS }: Request,
  ): Promise<Response> {
    const url = `${this.#options.publicUrl}/agent/v1/${path}`;
    const isBytes = body instanceof Uint8Array;
    const reply = await fetch(url, {
      method,
      headers: {
        "content-type": isBytes ? "application/octet-stream" : "application/json",
        dpop: this.#prove(method, url, token),
        ...(token ? { authorization: `DPoP ${this.#token}` } : {}),
      },
      body: isBytes ? body : JSON.stringify(body),
      signal: AbortSignal.timeout(patienceMs),
    });
    this.#nonce = reply.headers.get("dpop-nonce") ?? this.#nonce;
    return reply;
  }

  #prove(htm: string, htu: string, token: boolean): string {
    const ath = createHash("sha256").update(this.#token).digest("base64url");
    const claims = { htm, htu, jti: randomUUID(), iat: Math.floor(Date.now() / 1_000) };
    const bound = { ...claims, nonce: this.#nonce, ...(token ? { ath } : {}) };
    return this.#sign(`${this.#proofHeader}.${part(bound)}`);
  }
}

/** A lease as it came, read and not checked. */
export type Claims = LeaseClaims;

interface Request {
  readonly body: Body | Uint8Array<ArrayBuffer>;
  readonly token?: boolean;
  readonly patienceMs?: number;
}

const VERSIONS = { agentVersion: "by-protocol", protocolVersion: 1 };

async function readBody(reply: Response): Promise<Body> {
  const text = await reply.text();
  return text === "" ? {} : JSON.parse(text);
}

/** One simulated agent: real keys, proofs, tokens and results, and nothing else of an agent. */
import { Buffer } from "node:buffer";
import { createHash, randomUUID, sign } from "node:crypto";
import type { LeaseClaims } from "@rookery/shared/jobs/lease.ts";
import { RESULT_TYPE } from "@rookery/shared/jobs/result.ts";
import { type ConnectionPool, RawConnection, type RawReply } from "./raw_http.ts";
import { signingKey, type SimKey } from "./sim_keys.ts";

/** What one replica is to the agents that talk to it. */
export interface Replica {
  readonly port: number;
  readonly pool: ConnectionPool;
}

export interface SimContext {
  readonly publicUrl: string;
  readonly drivers: Readonly<Record<string, string>>;
  readonly counts: Counts;
}

/** What was sent and what came back, over all agents of a process. */
export interface Counts {
  requests: number;
  refused: number;
  /** Replies by status, of those that were no success. */
  readonly problems: Record<string, number>;
  jobs: number;
}

export type Body = Record<string, unknown>;

function part(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}

const SHED_MS = 1_000;
const MOST_TRIES = 20;

export class SimAgent {
  readonly number: number;
  readonly bootId: string = randomUUID();
  heartbeatSeconds = 20;
  readonly #key: SimKey;
  readonly #proofHeader: string;
  readonly #replica: Replica;
  readonly #context: SimContext;
  readonly #held: RawConnection;
  #nonce: string | undefined;
  #token = "";
  #tokenHash: string | undefined;
  #renewAt = 0;

  constructor(number: number, replica: Replica, context: SimContext) {
    this.number = number;
    this.#key = signingKey(number);
    this.#proofHeader = part({ alg: "Ed25519", typ: "dpop+jwt", jwk: this.#key.publicJwk });
    this.#replica = replica;
    this.#context = context;
    this.#held = new RawConnection(replica.port);
  }

  /** Opens the session, or renews its token. */
  async openSession(): Promise<void> {
    const { drivers } = this.#context;
    const boot = { bootId: this.bootId, sequence: 1, capacity: 50, drivers };
    const session = await this.#call("session", {
      body: { ...boot, agentVersion: "bench", protocolVersion: 1 },
      token: false,
    });
    this.#token = String(session.accessToken);
    this.#tokenHash = createHash("sha256").update(this.#token).digest("base64url");
    this.heartbeatSeconds = Number(session.heartbeatSeconds);
    this.#renewAt = performance.now() + Number(session.expiresInSeconds) * 800;
  }

  async #renew(): Promise<void> {
    if (performance.now() > this.#renewAt) await this.openSession();
  }

  async heartbeat(leaseIds: readonly string[]): Promise<Body> {
    await this.#renew();
    return await this.#call("heartbeat", { body: { bootId: this.bootId, leaseIds } });
  }

  /** A held claim has a connection of its own, as that of a real agent has. */
  async claim(
    options: { wanted: number; waitSeconds: number; held?: boolean },
  ): Promise<SimLease[]> {
    await this.#renew();
    const { wanted, waitSeconds, held = false } = options;
    const body = { claimId: randomUUID(), bootId: this.bootId, wanted, waitSeconds };
    const { leases } = await this.#call("claim", { body, held });
    return (leases as { lease: string; credential: string }[]).map(readLease);
  }

  async report({ claims }: SimLease, report: Body): Promise<void> {
    await this.#renew();
    const { aud: iss, iss: aud, sub, jti, siteId, epoch, bootId, incarnation } = claims;
    const lease = { iss, aud, sub, jti, siteId, epoch, bootId, incarnation };
    const header = part({ alg: "Ed25519", typ: RESULT_TYPE });
    const payload = part({ ...lease, report, durationMs: 7, agentVersion: "bench" });
    const result = this.#sign(`${header}.${payload}`);
    await this.#call(`leases/${jti}/result`, { body: { result } });
    this.#context.counts.jobs++;
  }

  close(): void {
    this.#held.close();
  }

  #sign(text: string): string {
    return `${text}.${sign(null, Buffer.from(text), this.#key.privateKey).toString("base64url")}`;
  }

  async #call(
    path: string,
    { body, token = true, held = false }: { body: Body; token?: boolean; held?: boolean },
  ): Promise<Body> {
    for (let tries = 0;; tries++) {
      const reply = await this.#once(path, { body, token, held });
      if (reply.status < 300) return reply.body ? JSON.parse(reply.body) : {};
      this.#note(reply);
      const shed = reply.status === 429 || reply.status === 503;
      const stale = reply.header("www-authenticate")?.includes("use_dpop_nonce") ?? false;
      if (tries >= MOST_TRIES || !(shed || stale)) {
        throw new Error(`POST ${path}: ${reply.status} ${reply.body.slice(0, 300)}`);
      }
      if (shed) await later(Number(reply.header("retry-after") ?? 1) * SHED_MS);
    }
  }

  async #once(
    path: string,
    { body, token, held }: { body: Body; token: boolean; held: boolean },
  ): Promise<RawReply> {
    const url = new URL(`/agent/v1/${path}`, this.#context.publicUrl);
    const text = JSON.stringify(body);
    const lines = [
      `POST ${url.pathname} HTTP/1.1`,
      `host: ${url.host}`,
      "content-type: application/json",
      `content-length: ${text.length}`,
      `dpop: ${this.#prove(url.href, token)}`,
      ...(token ? [`authorization: DPoP ${this.#token}`] : []),
    ];
    this.#context.counts.requests++;
    const by = held ? this.#held : this.#replica.pool;
    const reply = await by.send(`${lines.join("\r\n")}\r\n\r\n${text}`);
    this.#nonce = reply.header("dpop-nonce") ?? this.#nonce;
    return reply;
  }

  #prove(htu: string, token: boolean): string {
    const claims = { htm: "POST", htu, jti: randomUUID(), iat: Math.floor(Date.now() / 1_000) };
    const bound = { ...claims, nonce: this.#nonce, ath: token ? this.#tokenHash : undefined };
    return this.#sign(`${this.#proofHeader}.${part(bound)}`);
  }

  #note({ status, header }: RawReply): void {
    const { counts } = this.#context;
    const name = `${status} ${header("x-rookery-problem") ?? ""}`.trim();
    counts.problems[name] = (counts.problems[name] ?? 0) + 1;
    counts.refused++;
  }
}

/** A lease as it came, read and not checked: checking is the agents' own cost, on their own machines. */
export interface SimLease {
  readonly claims: LeaseClaims;
  readonly lease: string;
  readonly credential: string;
}

function readLease({ lease, credential }: { lease: string; credential: string }): SimLease {
  const payload = Buffer.from(lease.split(".")[1] ?? "", "base64url").toString();
  return { claims: JSON.parse(payload), lease, credential };
}

export function later(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

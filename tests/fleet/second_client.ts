/**
 * A second implementation of the agent's side of the protocol, written from the README's *Protocol* part: proofs by the npm
 * package `dpop`, envelopes by WebCrypto, requests by `fetch`. It shares nothing with `agent/` and `shared/`, so that
 * the protocol is what the document says and not what our agent happens to do.
 */
import { generateKeyPair, generateProof } from "dpop";
import * as zlib from "node:zlib";
import { digest, type Json, open, seal, sign, thumbprint, verify } from "./second_envelopes.ts";

/** Where the control plane is: by the name that proofs are made for, and by the address that is connected to. */
export interface Reach {
  readonly publicUrl: string;
  readonly connectTo: string;
}

/** What goes into a request in place of what is right. */
export interface Wrongs {
  readonly htu?: string;
  readonly htm?: string;
  /** Null: none. */
  readonly nonce?: string | null;
  /** The token that the proof's `ath` is made from; null: no `ath`. */
  readonly provenToken?: string | null;
  readonly keys?: CryptoKeyPair;
  /** A whole proof, in place of a new one. */
  readonly proof?: string;
}

export interface Reply {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Json;
  /** The proof that it was asked with. */
  readonly proof: string;
}

export interface Lease {
  readonly claims: Json & { readonly device: Json };
  readonly credential: Json;
}

/** The agent got an answer that is a refusal. */
export class RefusedError extends Error {
  override name = "RefusedError";
  readonly reply: Reply;

  constructor(reply: Reply) {
    super(`${reply.status} ${reply.body.type}: ${reply.body.detail}`);
    this.reply = reply;
  }
}

/** The types of ssh2 bring an older description of Node along, which knows no zstd. */
const { zstdCompressSync } = zlib as unknown as { zstdCompressSync(text: Uint8Array): Uint8Array };

const VERSIONS = { agentVersion: "second", protocolVersion: 1 };

/** One boot of an agent of its own. */
export class SecondClient {
  signing: CryptoKeyPair;
  #sealing: CryptoKeyPair;
  readonly #reach: Reach;
  readonly #drivers: Json;
  readonly bootId: string = crypto.randomUUID();
  nonce: string | null = null;
  token: string | null = null;
  /** What the enrolment said. */
  identity: Json = {};
  session: Json = {};
  #pinned: Json = {};

  private constructor(keys: readonly [CryptoKeyPair, CryptoKeyPair], reach: Reach, drivers: Json) {
    [this.signing, this.#sealing] = keys;
    this.#reach = reach;
    this.#drivers = drivers;
  }

  static async create(reach: Reach, drivers: Json): Promise<SecondClient> {
    const sealing = await crypto.subtle.generateKey("X25519", false, ["deriveBits"]);
    const keys = [await generateKeyPair("Ed25519"), sealing as CryptoKeyPair] as const;
    return new SecondClient(keys, reach, drivers);
  }

  /** Sends one request with one proof; no answer is followed up. */
  async once(
    call: string,
    { body, token = this.token, wrong = {} }: {
      body?: Json | Uint8Array<ArrayBuffer>;
      token?: string | null;
      wrong?: Wrongs;
    } = {},
  ): Promise<Reply> {
    const [method = "", path = ""] = call.split(" ");
    const proof = wrong.proof ?? await this.#prove(method, `/agent/v1/${path}`, { token, wrong });
    const headers = new Headers({ dpop: proof });
    if (token !== null) headers.set("authorization", `DPoP ${token}`);
    if (body) headers.set("content-type", typeOf(body));
    const response = await fetch(`${this.#reach.connectTo}/agent/v1/${path}`, {
      method,
      headers,
      redirect: "error",
      body: body instanceof Uint8Array ? body : body ? JSON.stringify(body) : null,
    });
    this.nonce = response.headers.get("dpop-nonce") ?? this.nonce;
    const text = await response.text();
    const { status } = response;
    return { status, headers: response.headers, body: text ? JSON.parse(text) : {}, proof };
  }

  async #prove(method: string, path: string, { token, wrong }: {
    token: string | null;
    wrong: Wrongs;
  }): Promise<string> {
    const nonce = wrong.nonce === undefined ? this.nonce : wrong.nonce;
    const proven = wrong.provenToken === undefined ? token : wrong.provenToken;
    return await generateProof(
      wrong.keys ?? this.signing,
      wrong.htu ?? `${this.#reach.publicUrl}${path}`,
      wrong.htm ?? method,
      nonce ?? undefined,
      proven ?? undefined,
    );
  }

  /** Sends a request; once more when the server wants its newest nonce. A refusal is thrown. */
  async call(
    call: string,
    options: { body?: Json | Uint8Array<ArrayBuffer>; token?: string | null } = {},
  ): Promise<Json> {
    let reply = await this.once(call, options);
    const challenge = reply.headers.get("www-authenticate") ?? "";
    if (reply.status === 401 && challenge.includes('error="use_dpop_nonce"')) {
      reply = await this.once(call, options);
    }
    if (reply.status >= 300) throw new RefusedError(reply);
    return reply.body;
  }

  /** Joins, and pins the one signing key that the join token names. */
  async enroll(joinToken: string): Promise<void> {
    const signJwk = await publicJwk(this.signing);
    const sealJwk = await publicJwk(this.#sealing);
    const drivers = this.#drivers;
    this.identity = await this.call("POST enroll", {
      body: { joinToken, signJwk, sealJwk, drivers, ...VERSIONS },
      token: null,
    });
    const named = joinToken.split(".")[1];
    for (const key of this.identity.signingKeys as Json[]) {
      if (await thumbprint(key) === named) this.#pinned = key;
    }
  }

  async openSession(sequence = 1): Promise<void> {
    const boot = { bootId: this.bootId, sequence, capacity: 10, drivers: this.#drivers };
    this.session = await this.call("POST session", {
      body: { ...boot, ...VERSIONS },
      token: null,
    });
    this.token = this.session.accessToken as string;
  }

  async claim(claimId: string = crypto.randomUUID(), wanted = 10): Promise<Lease[]> {
    const body = { claimId, bootId: this.bootId, wanted, waitSeconds: 0 };
    const { leases } = await this.call("POST claim", { body });
    const open = (granted: Json) => this.#openLease(granted, claimId);
    return await Promise.all((leases as Json[]).map(open));
  }

  async #openLease({ lease, credential }: Json, claimId: string): Promise<Lease> {
    const claims = await verify(lease as string, "rookery-lease+jwt", this.#pinned);
    const expected: Json = {
      iss: this.identity.issuer,
      aud: this.identity.agentId,
      bootId: this.bootId,
      claimId,
      incarnation: this.session.incarnation,
      credentialSha256: await digest(credential as string),
      normaliserVersion: 1,
    };
    const device = claims.device as Json;
    mustMatch(claims, expected);
    mustMatch(device, { driverSha256: this.#drivers[device.platform as string] });
    if (!(this.session.siteIds as unknown[]).includes(claims.siteId)) throw new TypeError("siteId");
    const key = this.#sealing.privateKey;
    const opened = await open(credential as string, "rookery-credential+json", key);
    const { jti: leaseId, epoch } = claims;
    const { id: deviceId, host, port } = device;
    mustMatch(opened, { leaseId, epoch, deviceId, host, port });
    return { claims: { ...claims, device }, credential: opened };
  }

  async heartbeat(leases: readonly Lease[]): Promise<Json> {
    const leaseIds = leases.map(({ claims }) => claims.jti);
    return await this.call("POST heartbeat", { body: { bootId: this.bootId, leaseIds } });
  }

  /** Uploads bytes unless they are there already; says whether they were sent. */
  async upload({ claims }: Lease, bytes: Uint8Array<ArrayBuffer>): Promise<boolean> {
    const path = `leases/${claims.jti}/blobs/${await digest(bytes)}`;
    const { status } = await this.once(`HEAD ${path}`);
    if (status === 204) return false;
    if (status !== 404) throw new Error(`HEAD answers ${status}`);
    await this.call(`PUT ${path}`, { body: bytes });
    return true;
  }

  /** Signs a report as a result of a lease. */
  async signReport({ claims }: Lease, report: Json, key = this.signing.privateKey) {
    const { aud: iss, iss: aud, sub, jti, siteId, epoch, bootId, incarnation } = claims;
    const lease = { iss, aud, sub, jti, siteId, epoch, bootId, incarnation };
    const { agentVersion } = VERSIONS;
    return await sign(
      "rookery-result+jwt",
      { ...lease, report, durationMs: 12, agentVersion },
      key,
    );
  }

  async deliver({ claims }: Lease, result: string): Promise<Json> {
    return await this.call(`POST leases/${claims.jti}/result`, { body: { result } });
  }

  /** As a result that waited on disk: sealed to the control plane under the key that the pinned one vouches for. */
  async deliverSealed({ claims }: Lease, result: string): Promise<Json> {
    const key = await this.#sealingKey();
    const header = {
      typ: "rookery-report+jwe",
      cty: "rookery-result+zstd",
      kid: key.kid,
      lease: claims.jti,
    };
    const sealed = await seal(compress(result), key, header);
    return await this.call(`POST leases/${claims.jti}/result`, { body: { sealed } });
  }

  async #sealingKey(): Promise<Json> {
    const { statements } = await this.call("GET jwks", { token: null });
    for (const statement of statements as string[]) {
      const said = await verify(statement, "rookery-key+jwt", this.#pinned).catch(() => undefined);
      const jwk = said?.use === "enc" && said.iss === this.identity.issuer ? said.jwk as Json : {};
      if (jwk.x) return { ...jwk, kid: await thumbprint(jwk) };
    }
    throw new TypeError("No statement of the pinned key names a sealing key");
  }

  /** Agrees on new keys by the word of the old one and of the new one; the next session uses them. */
  async rotateKeys(): Promise<void> {
    const next = await generateKeyPair("Ed25519");
    const sealing = await crypto.subtle.generateKey("X25519", false, ["deriveBits"]);
    const statement = {
      iss: this.identity.agentId,
      aud: this.identity.issuer,
      oldThumbprint: await thumbprint(await publicJwk(this.signing)),
      signJwk: await publicJwk(next),
      sealJwk: await publicJwk(sealing as CryptoKeyPair),
    };
    const by = (keys: CryptoKeyPair) =>
      sign("rookery-key-rotation+jwt", statement, keys.privateKey);
    const body = { byOld: await by(this.signing), byNew: await by(next) };
    const { thumbprint: agreed } = await this.call("POST keys/rotate", { body });
    if (agreed !== await thumbprint(statement.signJwk)) throw new TypeError("thumbprint");
    this.signing = next;
    this.#sealing = sealing as CryptoKeyPair;
  }

  async release({ claims }: Lease): Promise<void> {
    await this.call(`POST leases/${claims.jti}/release`);
  }

  async drain(): Promise<void> {
    await this.call("POST drain", { body: { bootId: this.bootId } });
  }
}

function compress(text: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(zstdCompressSync(new TextEncoder().encode(text)));
}

function typeOf(body: Json | Uint8Array): string {
  return body instanceof Uint8Array ? "application/octet-stream" : "application/json";
}

async function publicJwk({ publicKey }: CryptoKeyPair): Promise<Json> {
  const { kty, crv, x } = await crypto.subtle.exportKey("jwk", publicKey);
  return { kty, crv, x };
}

function mustMatch(claims: Json, expected: Json): void {
  for (const [name, value] of Object.entries(expected)) {
    if (claims[name] !== value) throw new TypeError(`${name} is not what this agent knows`);
  }
}

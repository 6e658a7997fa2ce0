/**
 * The signed and sealed envelopes of the agent protocol as the README's *Protocol* part describes them, over WebCrypto
 * alone: no line of it is shared with the agent or the control plane, nor is the library.
 */
const encoder = new TextEncoder();
const decoder = new TextDecoder();
const BASE64URL = { alphabet: "base64url", omitPadding: true } as const;

export type Json = Record<string, unknown>;

export function b64u(bytes: Uint8Array): string {
  return bytes.toBase64(BASE64URL);
}

function fromB64u(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.fromBase64(text, { alphabet: "base64url" });
}

function readPart(text: string | undefined): Json {
  return JSON.parse(decoder.decode(fromB64u(text ?? "")));
}

async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
}

/** SHA-256 in lower-case hexadecimal. */
export async function digest(data: string | Uint8Array<ArrayBuffer>): Promise<string> {
  return (await sha256(typeof data === "string" ? encoder.encode(data) : data)).toHex();
}

/** RFC 7638, for the keys of RFC 8037. */
export async function thumbprint({ crv, kty, x }: Json): Promise<string> {
  return b64u(await sha256(encoder.encode(JSON.stringify({ crv, kty, x }))));
}

/** Signs claims as a compact JWS, alg `Ed25519`. */
export async function sign(typ: string, claims: Json, key: CryptoKey): Promise<string> {
  const parts = [{ alg: "Ed25519", typ }, claims]
    .map((part) => b64u(encoder.encode(JSON.stringify(part))));
  const text = parts.join(".");
  const signature = await crypto.subtle.sign("Ed25519", key, encoder.encode(text));
  return `${text}.${b64u(new Uint8Array(signature))}`;
}

/** The claims of a compact JWS, if it is of this type, by this key, and signed. */
export async function verify(token: string, typ: string, jwk: Json): Promise<Json> {
  const [header, payload, signature, ...rest] = token.split(".");
  const { alg, typ: given, kid } = readPart(header);
  if (alg !== "Ed25519" || given !== typ || kid !== jwk.kid || rest.length > 0) {
    throw new TypeError(`is no ${typ} by the pinned key`);
  }
  const key = await crypto.subtle.importKey("jwk", jwk, "Ed25519", false, ["verify"]);
  const signed = encoder.encode(`${header}.${payload}`);
  if (!await crypto.subtle.verify("Ed25519", key, fromB64u(signature ?? ""), signed)) {
    throw new TypeError("its signature is wrong");
  }
  return readPart(payload);
}

/** Opens a compact JWE: ECDH-ES over X25519 straight to A256GCM (RFC 7518, section 4.6). */
export async function open(jwe: string, cty: string, privateKey: CryptoKey): Promise<Json> {
  const [header = "", encryptedKey, iv, ciphertext, tag] = jwe.split(".");
  const { alg, enc, epk, zip, cty: given } = readPart(header);
  if (alg !== "ECDH-ES" || enc !== "A256GCM" || zip !== undefined || given !== cty) {
    throw new TypeError(`is no ${cty} sealed to this agent`);
  }
  if (encryptedKey !== "") throw new TypeError("carries a key that ECDH-ES has no use for");
  const key = await agreeKey(epk as Json, privateKey);
  const sealed = new Uint8Array([...fromB64u(ciphertext ?? ""), ...fromB64u(tag ?? "")]);
  const algorithm = {
    name: "AES-GCM",
    iv: fromB64u(iv ?? ""),
    additionalData: encoder.encode(header),
  };
  return JSON.parse(decoder.decode(await crypto.subtle.decrypt(algorithm, key, sealed)));
}

/** The one round of the Concat KDF that 256 bits need. */
async function agreeKey(
  epk: Json,
  privateKey: CryptoKey,
  usage: "encrypt" | "decrypt" = "decrypt",
): Promise<CryptoKey> {
  const theirs = await crypto.subtle.importKey("jwk", epk, "X25519", false, []);
  const agreed = await crypto.subtle.deriveBits(
    { name: "X25519", public: theirs },
    privateKey,
    256,
  );
  const name = encoder.encode("A256GCM");
  const empty = number(0);
  const info = [number(name.length), name, empty, empty, number(256)];
  const round = [number(1), new Uint8Array(agreed), ...info].flatMap((part) => [...part]);
  const bytes = await sha256(new Uint8Array(round));
  return await crypto.subtle.importKey("raw", bytes, "AES-GCM", false, [usage]);
}

function number(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}

/** Seals bytes as a compact JWE, the way `open` opens it; `header` is added to the protected one. */
export async function seal(
  plaintext: Uint8Array<ArrayBuffer>,
  jwk: Json,
  header: Json,
): Promise<string> {
  const { kty, crv, x } = jwk;
  const pair = await crypto.subtle.generateKey("X25519", true, ["deriveBits"]) as CryptoKeyPair;
  const own = await crypto.subtle.exportKey("jwk", pair.publicKey);
  const epk = { kty: own.kty, crv: own.crv, x: own.x };
  const protectedPart = { alg: "ECDH-ES", enc: "A256GCM", epk, ...header };
  const head = b64u(encoder.encode(JSON.stringify(protectedPart)));
  const key = await agreeKey({ kty, crv, x }, pair.privateKey, "encrypt");
  const iv = crypto.getRandomValues(new Uint8Array(12));
  const algorithm = { name: "AES-GCM", iv, additionalData: encoder.encode(head) };
  const sealed = new Uint8Array(await crypto.subtle.encrypt(algorithm, key, plaintext));
  return [head, "", b64u(iv), b64u(sealed.subarray(0, -16)), b64u(sealed.subarray(-16))].join(".");
}

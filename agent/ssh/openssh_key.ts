import { Buffer } from "node:buffer";
import type { JsonWebKey } from "node:crypto";

/** The key material of an elliptic-curve key, each number as long as the curve's field. */
export interface CurveKey {
  readonly curve: "nistp256" | "nistp384" | "nistp521";
  /** The uncompressed point, 04 ‖ x ‖ y. */
  readonly point: Uint8Array;
  readonly secret: Uint8Array;
}

/** Bytes of a number on each curve. */
export const FIELD_BYTES = { nistp256: 32, nistp384: 48, nistp521: 66 } as const;
const CURVES: Readonly<Record<string, CurveKey["curve"]>> = {
  "P-256": "nistp256",
  "P-384": "nistp384",
  "P-521": "nistp521",
};

/**
 * An elliptic-curve key as an unencrypted OpenSSH private key. The secret is written at the full length of the field,
 * without the leading zero of an mpint: ssh2 copies it as it is into a SEC1 key, and Deno's parser takes no other length.
 */
export function curveKeyToOpenSsh(key: CurveKey): string {
  const type = `ecdsa-sha2-${key.curve}`;
  const publicFields = [field(type), field(key.curve), field(key.point)];
  return envelope(publicFields, [
    ...publicFields,
    field(padTo(key.secret, FIELD_BYTES[key.curve])),
  ]);
}

/** A private JWK (RSA, EC or Ed25519) as an unencrypted OpenSSH private key; undefined for any other kind. */
export function jwkToOpenSsh(jwk: JsonWebKey): string | undefined {
  if (jwk.kty === "RSA") return rsaToOpenSsh(jwk);
  const x = decode(jwk.x);
  const secret = decode(jwk.d);
  if (jwk.kty === "OKP" && jwk.crv === "Ed25519") {
    const publicFields = [field("ssh-ed25519"), field(x)];
    return envelope(publicFields, [...publicFields, field(Buffer.concat([secret, x]))]);
  }
  const curve = CURVES[jwk.crv ?? ""];
  if (jwk.kty !== "EC" || !curve) return undefined;
  const point = Buffer.concat([Buffer.from([4]), x, decode(jwk.y)]);
  return curveKeyToOpenSsh({ curve, point, secret });
}

function rsaToOpenSsh(jwk: JsonWebKey): string {
  const [n, e, d, inverse, p, q] = [jwk.n, jwk.e, jwk.d, jwk.qi, jwk.p, jwk.q]
    .map((number) => field(mpint(decode(number))));
  if (!n || !e || !d || !inverse || !p || !q) throw new Error("The RSA key lacks a number");
  return envelope([field("ssh-rsa"), e, n], [field("ssh-rsa"), n, e, d, inverse, p, q]);
}

/** OpenSSH's PROTOCOL.key, without encryption and with one key. */
function envelope(
  publicFields: readonly Uint8Array[],
  secretFields: readonly Uint8Array[],
): string {
  const check = Buffer.alloc(8);
  const secret = Buffer.concat([check, ...secretFields, field("")]);
  const padding = Buffer.from(Array.from({ length: (8 - secret.length % 8) % 8 }, (_, i) => i + 1));
  const bytes = Buffer.concat([
    Buffer.from("openssh-key-v1\0", "latin1"),
    field("none"),
    field("none"),
    field(""),
    uint32(1),
    field(Buffer.concat(publicFields)),
    field(Buffer.concat([secret, padding])),
  ]);
  const lines = bytes.toString("base64").match(/.{1,70}/g) ?? [];
  return [
    "-----BEGIN OPENSSH PRIVATE KEY-----",
    ...lines,
    "-----END OPENSSH PRIVATE KEY-----",
    "",
  ].join("\n");
}

/** A number at exactly `length` bytes: leading zeros removed or added. */
export function padTo(number: Uint8Array, length: number): Uint8Array {
  const start = number.findIndex((byte) => byte !== 0);
  const significant = start < 0 ? new Uint8Array() : number.subarray(start);
  if (significant.length > length) {
    throw new RangeError("The key's number is too long for its curve");
  }
  const padded = new Uint8Array(length);
  padded.set(significant, length - significant.length);
  return padded;
}

function field(content: string | Uint8Array): Buffer {
  const bytes = typeof content === "string" ? Buffer.from(content, "latin1") : content;
  return Buffer.concat([uint32(bytes.length), bytes]);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** RFC 4251's mpint: a leading zero keeps a number with its top bit set positive. */
function mpint(number: Uint8Array): Uint8Array {
  return (number[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.from([0]), number]) : number;
}

function decode(base64url: string | undefined): Buffer {
  if (base64url === undefined) throw new Error("The key lacks a number");
  return Buffer.from(base64url, "base64url");
}

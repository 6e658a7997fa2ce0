import { countBits } from "./der.ts";

/** What can be read of an OpenSSH private key without its passphrase (OpenSSH's PROTOCOL.key). */
export interface OpenSshEnvelope {
  readonly cipher: string;
  /** Of bcrypt; 0 without a passphrase. */
  readonly rounds: number;
  readonly type: string;
  /** The public key in SSH's form. */
  readonly publicKey: Uint8Array;
}

/** Reads the envelope; undefined when it is damaged or cut off. */
export function readOpenSshEnvelope(bytes: Uint8Array): OpenSshEnvelope | undefined {
  const magic = new TextEncoder().encode("openssh-key-v1\0");
  if (!magic.every((byte, index) => bytes[index] === byte)) return undefined;
  const cipher = readField(bytes, magic.length);
  const kdf = cipher && readField(bytes, cipher.end);
  const kdfOptions = kdf && readField(bytes, kdf.end);
  const publicKey = kdfOptions && readField(bytes, kdfOptions.end + 4);
  const type = publicKey && readField(publicKey.bytes, 0);
  const secret = publicKey && readField(bytes, publicKey.end);
  if (!cipher || !kdfOptions || !type || !secret) return undefined;
  return {
    cipher: latin1(cipher.bytes),
    rounds: bcryptRounds(kdfOptions.bytes),
    type: latin1(type.bytes),
    publicKey: publicKey.bytes,
  };
}

/** The size of a public rsa key in SSH's form: string type, mpint e, mpint n. */
export function rsaBitsOf(publicKey: Uint8Array): number {
  const type = readField(publicKey, 0);
  const exponent = type && readField(publicKey, type.end);
  const modulus = exponent && readField(publicKey, exponent.end);
  return modulus ? countBits(modulus.bytes) : 0;
}

interface Piece {
  readonly bytes: Uint8Array;
  /** Where the next piece starts. */
  readonly end: number;
}

/** A `string` of RFC 4251: a 32-bit length and that many bytes. */
function readField(bytes: Uint8Array, offset: number): Piece | undefined {
  if (offset + 4 > bytes.length) return undefined;
  const start = offset + 4;
  const end = start + new DataView(bytes.buffer, bytes.byteOffset).getUint32(offset);
  return end <= bytes.length ? { bytes: bytes.subarray(start, end), end } : undefined;
}

/** The options of `bcrypt`: string salt, uint32 rounds. */
function bcryptRounds(options: Uint8Array): number {
  const salt = readField(options, 0);
  if (!salt || salt.end + 4 > options.length) return 0;
  return new DataView(options.buffer, options.byteOffset).getUint32(salt.end);
}

function latin1(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes.subarray(0, 100));
}

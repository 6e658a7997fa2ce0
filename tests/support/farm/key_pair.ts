import ssh2 from "ssh2";
import { createHash, generateKeyPairSync } from "node:crypto";
import { Buffer } from "node:buffer";

export type KeyType = "ed25519" | "rsa" | "ecdsa";

/** A user's key pair: the private half in OpenSSH's format, the public half as one `authorized_keys` line. */
export interface KeyPair {
  readonly privateKey: string;
  readonly publicKey: string;
  readonly passphrase?: string;
}

/** The private key of a server, with what a client sees of it. */
export interface HostKey {
  /** `ssh-ed25519`, `ssh-rsa`, `ecdsa-sha2-nistp256`. */
  readonly type: string;
  /** `SHA256:…` as OpenSSH prints it: base64 without padding. */
  readonly fingerprint: string;
  readonly privateKey: string;
}

type Protection =
  | { readonly comment: string }
  | { readonly passphrase: string; readonly cipher: string; readonly rounds: number };

const ED25519_WIRE_BYTES = 51;
const RSA = { bits: 2_048 };
const ECDSA = { bits: 256 } as const;

/** Makes a key pair as ssh-keygen does; a passphrase encrypts the private half with aes256-ctr. */
export function makeKeyPair(
  type: KeyType,
  { passphrase }: { readonly passphrase?: string } = {},
): KeyPair {
  const protection: Protection = passphrase === undefined
    ? { comment: "" }
    : { passphrase, cipher: "aes256-ctr", rounds: 16 };
  let made = generate(type, protection);
  // ssh2 1.17.0 drops a leading zero byte: one ed25519 key in 256 is one byte short, and of no use.
  while (type === "ed25519" && wireKeyOf(made.public).length !== ED25519_WIRE_BYTES) {
    made = generate(type, protection);
  }
  const pair = { privateKey: made.private, publicKey: made.public };
  return passphrase === undefined ? pair : { ...pair, passphrase };
}

function generate(type: KeyType, protection: Protection) {
  if (type === "rsa") return ssh2.utils.generateKeyPairSync("rsa", { ...RSA, ...protection });
  if (type === "ecdsa") return ssh2.utils.generateKeyPairSync("ecdsa", { ...ECDSA, ...protection });
  return ssh2.utils.generateKeyPairSync("ed25519", protection);
}

function wireKeyOf(publicKey: string): Buffer {
  return Buffer.from(publicKey.split(" ")[1] ?? "", "base64");
}

/** Parses one key of any format that ssh2 reads; throws when it cannot. */
export function parseKey(text: string): ssh2.ParsedKey {
  const parsed = ssh2.utils.parseKey(text);
  if (parsed instanceof Error) throw new Error("Cannot parse a key", { cause: parsed });
  return parsed;
}

/** `SHA256:…` of a public key in its wire form. */
export function fingerprintOf(wireKey: Buffer): string {
  return `SHA256:${createHash("sha256").update(wireKey).digest("base64").replace(/=+$/, "")}`;
}

/** Makes a host key. ECDSA ones are kept as SEC1, because ssh2 cannot sign with half of its own on Deno. */
export function makeHostKey(type: KeyType = "ed25519"): HostKey {
  const privateKey = type === "ecdsa" ? makeSec1Key() : makeKeyPair(type).privateKey;
  const parsed = parseKey(privateKey);
  return { type: parsed.type, fingerprint: fingerprintOf(parsed.getPublicSSH()), privateKey };
}

function makeSec1Key(): string {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return privateKey.export({ type: "sec1", format: "pem" }).toString();
}

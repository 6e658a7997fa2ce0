import { calculateJwkThumbprint, importJWK, type JWK } from "jose";
import { KeyFileError, readExistingKeyFile, readOrCreateKeyFile } from "./key_file.ts";
import type { KeyFile, SealingKey, SigningKey } from "./key_file_schema.ts";
import { statementsOf } from "./key_statements.ts";

/** The public half of a key of ours, as agents pin it. */
export interface PublicJwk {
  readonly kty: "OKP";
  readonly crv: "Ed25519" | "X25519";
  readonly x: string;
  readonly kid: string;
}

/** A key pair of the control plane; the private half cannot be exported from it. */
export interface KeyPair {
  readonly kid: string;
  readonly privateKey: CryptoKey;
  readonly publicKey: CryptoKey;
  readonly publicJwk: PublicJwk;
  /** RFC 7638, SHA-256, base64url. */
  readonly thumbprint: string;
}

/** What identifies the keys without telling anything about them; this and no more stands in the database. */
export interface KeyFingerprints {
  readonly signing: readonly string[];
  readonly sealing: readonly string[];
  readonly kek: Readonly<Record<string, string>>;
  readonly derivation: string;
}

/** All keys of the control plane, ready to use; holds no key in a form that could be printed. */
export interface KeyRing {
  /** Signs leases and access tokens: the active one. */
  readonly signing: KeyPair;
  /** Every signing key that agents may still meet, the active one first. */
  readonly signingPublicJwks: readonly PublicJwk[];
  /** Checks what one of those signed; undefined for an unknown or retired one. */
  readonly signingPublicKey: (kid: string) => CryptoKey | undefined;
  /** Checks what any signing key ever signed, also one that is retired: for records that outlive their keys. */
  readonly anySigningPublicKey: (kid: string) => CryptoKey | undefined;
  /** Why agents are to trust these keys (`KeyStatement`), oldest first; `issuer` names the installation. */
  readonly statements: (issuer: string) => Promise<readonly string[]>;
  /** Agents seal to this one what only the control plane may open. */
  readonly sealing: KeyPair;
  /** Opens what was sealed to an older key; undefined for an unknown id. */
  readonly sealingKey: (kid: string) => KeyPair | undefined;
  readonly currentKekId: string;
  /** The key-encryption key of that id (AES-KW); throws when the key file has none. */
  readonly kek: (id: string) => CryptoKey;
  /** 32 bytes for one purpose and context (HKDF-SHA-256); the same ones on every replica and for ever. */
  readonly deriveKey: (purpose: string, context: string) => Promise<Uint8Array<ArrayBuffer>>;
  readonly fingerprints: KeyFingerprints;
  /** Which version of the key file this is. */
  readonly generation: number;
}

/** Loads the key file at `path`, making it at first start (`create`); throws a KeyFileError that says what to do. */
export async function loadKeyRing(
  path: string,
  { create }: { readonly create: boolean },
): Promise<KeyRing> {
  return await openKeyRing(await (create ? readOrCreateKeyFile(path) : readExistingKeyFile(path)));
}

/** Imports the keys of a key file. */
export async function openKeyRing(file: KeyFile): Promise<KeyRing> {
  const everSigning = await Promise.all(file.signing.map(importPair));
  const signing = activeFirst(everSigning.filter(isInUse));
  const sealing = activeFirst((await Promise.all(file.sealing.map(importPair))).filter(isInUse));
  const keks = new Map(await Promise.all(file.kek.map(importKek)));
  const derivation = await importRoot(file.derivation.key);
  return {
    signing: signing[0],
    signingPublicJwks: signing.map((pair) => pair.publicJwk),
    signingPublicKey: (kid) => signing.find((pair) => pair.kid === kid)?.publicKey,
    anySigningPublicKey: (kid) => everSigning.find((pair) => pair.kid === kid)?.publicKey,
    statements: onceFor((issuer) => statementsOf(file, { issuer, by: signing[0] })),
    sealing: sealing[0],
    sealingKey: (kid) => sealing.find((pair) => pair.kid === kid),
    currentKekId: activeFirst(file.kek)[0].id,
    kek: (id) => kekOf(keks, id),
    deriveKey: (purpose, context) => derive(derivation, [purpose, context]),
    generation: file.generation,
    fingerprints: {
      signing: file.signing.map((key) => key.kid).sort(),
      sealing: file.sealing.map((key) => key.kid).sort(),
      kek: Object.fromEntries(
        await Promise.all(
          file.kek.map(async ({ id, key }) => [id, await checkValue(key)] as const),
        ),
      ),
      derivation: await checkValue(file.derivation.key),
    },
  };
}

type ListedKey = SigningKey | SealingKey;

/** A retired key has no private half any more: it stands in the file for its public half and its statement. */
function isInUse({ retiredAt }: { readonly retiredAt: string | undefined }): boolean {
  return retiredAt === undefined;
}

/** Remembers the last answer: the statements are asked for by every agent that starts. */
function onceFor<Value>(make: (name: string) => Promise<Value>): (name: string) => Promise<Value> {
  let last: { readonly name: string; readonly value: Promise<Value> } | undefined;
  return (name) => {
    if (last?.name !== name) last = { name, value: make(name) };
    return last.value;
  };
}

async function importPair(
  { kid, jwk, active, retiredAt }: ListedKey,
): Promise<KeyPair & { readonly active: boolean; readonly retiredAt: string | undefined }> {
  const algorithm = jwk.crv === "Ed25519" ? "Ed25519" : "ECDH-ES";
  const { d: _private, ...open } = jwk;
  const thumbprint = await calculateJwkThumbprint(open);
  if (thumbprint !== kid) {
    throw new KeyFileError(
      `Cannot use key ${kid}: it is not the key of that id. Restore the key file.`,
    );
  }
  return {
    active,
    retiredAt,
    kid,
    privateKey: await importCryptoKey(retiredAt === undefined ? jwk : open, algorithm),
    publicKey: await importCryptoKey(open, algorithm),
    publicJwk: { ...open, kid },
    thumbprint,
  };
}

async function importCryptoKey(
  jwk: JWK,
  algorithm: string,
): Promise<CryptoKey> {
  const key = await importJWK(jwk, algorithm, { extractable: false });
  if (key instanceof Uint8Array) throw new KeyFileError("Cannot use a symmetric key as a key pair");
  return key;
}

function activeFirst<Key extends { readonly active: boolean }>(
  keys: readonly Key[],
): [Key, ...Key[]] {
  const [first, ...rest] = keys.toSorted((left, right) =>
    Number(right.active) - Number(left.active)
  );
  if (!first) throw new KeyFileError("Cannot use the key file: a list of keys is empty");
  return [first, ...rest];
}

async function importKek(
  { id, key }: KeyFile["kek"][number],
): Promise<readonly [string, CryptoKey]> {
  return [
    id,
    await crypto.subtle.importKey("raw", decode(key), "AES-KW", false, ["wrapKey", "unwrapKey"]),
  ];
}

function kekOf(keks: ReadonlyMap<string, CryptoKey>, id: string): CryptoKey {
  const key = keks.get(id);
  if (!key) {
    throw new KeyFileError(
      `Cannot unwrap with key ${id}: the key file has no such key. Restore a key file that has it.`,
    );
  }
  return key;
}

function importRoot(key: string): Promise<CryptoKey> {
  return crypto.subtle.importKey("raw", decode(key), "HKDF", false, ["deriveBits"]);
}

/** `info` is a JSON array, so that no two (purpose, context) pairs can ever read the same. */
async function derive(root: CryptoKey, info: readonly string[]): Promise<Uint8Array<ArrayBuffer>> {
  const bits = await crypto.subtle.deriveBits(
    {
      name: "HKDF",
      hash: "SHA-256",
      salt: new Uint8Array(),
      info: new TextEncoder().encode(JSON.stringify(["rookery", 1, ...info])),
    },
    root,
    256,
  );
  return new Uint8Array(bits);
}

/** Tells two secret keys apart and nothing more: the keys have 256 random bits, so it cannot be searched. */
async function checkValue(key: string): Promise<string> {
  const value = await derive(await importRoot(key), ["fingerprint"]);
  return value.slice(0, 16).toHex();
}

function decode(key: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.fromBase64(key, { alphabet: "base64url" });
}

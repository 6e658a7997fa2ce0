/**
 * The key file (`ROOKERY_KEYS`): every key that the control plane owns. It lies outside the database, so that
 * neither a copy of the database nor one of the key file alone opens anything. All replicas read the same file.
 */
import { dirname } from "node:path";
import { calculateJwkThumbprint, exportJWK, generateKeyPair } from "jose";
import { z } from "zod";

const Bytes32 = z.base64url().length(43);
const Born = { createdAt: z.iso.datetime(), active: z.boolean() } as const;

const SigningJwk = z.strictObject({
  kty: z.literal("OKP"),
  crv: z.literal("Ed25519"),
  x: Bytes32,
  d: Bytes32,
});
const SealingJwk = z.strictObject({
  kty: z.literal("OKP"),
  crv: z.literal("X25519"),
  x: Bytes32,
  d: Bytes32,
});

/** Exactly one key of a list is active: it signs, seals or wraps; the others only verify, open and unwrap. */
function withOneActive<Key extends { readonly active: boolean }>(keys: readonly Key[]): boolean {
  return keys.filter((key) => key.active).length === 1;
}
const ONE_ACTIVE = "must have exactly one active key";

/** What stands in the key file. Private: nothing but this folder reads it. */
export const KeyFile = z.strictObject({
  version: z.literal(1),
  signing: z.array(z.strictObject({ ...Born, kid: z.string().min(1), jwk: SigningJwk }))
    .refine(withOneActive, ONE_ACTIVE),
  sealing: z.array(z.strictObject({ ...Born, kid: z.string().min(1), jwk: SealingJwk }))
    .refine(withOneActive, ONE_ACTIVE),
  kek: z.array(z.strictObject({ ...Born, id: z.string().min(1).max(60), key: Bytes32 }))
    .refine(withOneActive, ONE_ACTIVE)
    .refine((keys) => new Set(keys.map((key) => key.id)).size === keys.length, "repeats an id"),
  /** The root from which per-device and other keys are derived; it never encrypts by itself. */
  derivation: z.strictObject({ key: Bytes32 }),
});
export type KeyFile = z.infer<typeof KeyFile>;

/** The key file is missing, unreadable, too open, damaged, or not the one of this installation. */
export class KeyFileError extends Error {
  override readonly name = "KeyFileError";
}

/** Reads the key file, or makes it when there is none; throws a KeyFileError that says what to do. */
export async function readOrCreateKeyFile(path: string): Promise<KeyFile> {
  return await readKeyFile(path) ?? await createKeyFile(path);
}

/** Reads the key file of an installation that has one; throws a KeyFileError that says what to do when it is missing. */
export async function readExistingKeyFile(path: string): Promise<KeyFile> {
  const found = await readKeyFile(path);
  if (found) return found;
  throw new KeyFileError(
    `Cannot find the key file ${path}, and this database was written with its keys. ` +
      "Restore it from your backup of it, or correct ROOKERY_KEYS.",
  );
}

async function readKeyFile(path: string): Promise<KeyFile | undefined> {
  const text = await readPrivateFile(path);
  if (text === undefined) return undefined;
  const parsed = KeyFile.safeParse(parseJson(text));
  if (parsed.success) return parsed.data;
  // Names the fields and never their values; the cause is left out for the same reason.
  const where = parsed.error.issues.map((issue) => `${issue.path.join(".") || "(whole)"}`).join(
    ", ",
  );
  throw new KeyFileError(
    `Cannot use the key file ${path}: it is damaged at ${where}. Restore it from your backup of it.`,
  );
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Checks the open file and not its name, so that nobody can swap it between the check and the reading. */
async function readPrivateFile(path: string): Promise<string | undefined> {
  try {
    using file = await Deno.open(path, { read: true });
    const { isFile, mode } = await file.stat();
    if (!isFile) throw new KeyFileError(`Cannot use the key file ${path}: it is no file.`);
    if (mode !== null && (mode & 0o077) !== 0) {
      throw new KeyFileError(
        `Refused the key file ${path}: others may read or write it. Run: chmod 600 ${path}`,
      );
    }
    return await new Response(file.readable).text();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    if (error instanceof KeyFileError) throw error;
    throw new KeyFileError(`Cannot read the key file ${path}`, { cause: error });
  }
}

/**
 * Written whole and flushed under another name, then linked: a crash leaves no half file, and of two replicas
 * that start at once one makes it and the other reads that one.
 */
async function createKeyFile(path: string): Promise<KeyFile> {
  const content = await makeKeys();
  const draft = `${path}.${crypto.randomUUID()}.new`;
  try {
    await Deno.mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await writeFlushed(draft, `${JSON.stringify(content, undefined, 2)}\n`);
    await Deno.link(draft, path);
    await flush(dirname(path));
    return content;
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) {
      throw new KeyFileError(`Cannot make the key file ${path}`, { cause: error });
    }
  } finally {
    await Deno.remove(draft).catch(() => {});
  }
  const other = await readKeyFile(path);
  if (!other) throw new KeyFileError(`Cannot read the key file ${path}: it vanished.`);
  return other;
}

async function writeFlushed(path: string, text: string): Promise<void> {
  await Deno.writeTextFile(path, text, { createNew: true, mode: 0o600 });
  await flush(path);
}

/** A folder is flushed too: else a power cut may take the name of a file whose content is safe. */
async function flush(path: string): Promise<void> {
  using file = await Deno.open(path, { read: true });
  await file.sync();
}

/** A fresh set of keys. */
export async function makeKeys(): Promise<KeyFile> {
  const born = { createdAt: new Date().toISOString(), active: true };
  const signing = SigningJwk.parse(await makePrivateJwk("Ed25519"));
  const sealing = SealingJwk.parse(await makePrivateJwk("ECDH-ES"));
  return {
    version: 1,
    signing: [{ ...born, kid: await calculateJwkThumbprint(signing), jwk: signing }],
    sealing: [{ ...born, kid: await calculateJwkThumbprint(sealing), jwk: sealing }],
    kek: [{ ...born, id: `kek-${randomBase64Url(6)}`, key: randomBase64Url(32) }],
    derivation: { key: randomBase64Url(32) },
  };
}

async function makePrivateJwk(algorithm: "Ed25519" | "ECDH-ES"): Promise<unknown> {
  const { privateKey } = await generateKeyPair(algorithm, {
    crv: algorithm === "ECDH-ES" ? "X25519" : "Ed25519",
    extractable: true,
  });
  const { kty, crv, x, d } = await exportJWK(privateKey);
  return { kty, crv, x, d };
}

function randomBase64Url(bytes: number): string {
  return crypto.getRandomValues(new Uint8Array(bytes))
    .toBase64({ alphabet: "base64url", omitPadding: true });
}

/** The key file under a passphrase, so that it can be kept apart from the backup of the database: a JWE (RFC 7516). */
import { argon2id } from "hash-wasm";
import { compactDecrypt, CompactEncrypt, decodeProtectedHeader } from "jose";
import { z } from "zod";
import { KeyFile } from "../keys/key_file_schema.ts";
import { KeyFileError } from "../keys/key_file.ts";

const TYPE = "rookery-keys+jwe";
const LEAST_CHARACTERS = 12;

/** How the key is made of the passphrase: RFC 9106's second choice, for whoever searches offline. */
const Derivation = z.object({
  typ: z.literal(TYPE),
  salt: z.base64url().length(22),
  kib: z.int().min(8_192).max(1_048_576),
  passes: z.int().min(1).max(16),
});
type Derivation = z.infer<typeof Derivation>;

/** Seals the content of a key file; throws a KeyFileError for a passphrase that is too short. */
export async function sealKeys(file: KeyFile, passphrase: string): Promise<string> {
  if (passphrase.length < LEAST_CHARACTERS) {
    throw new KeyFileError(
      `Cannot seal the keys: the passphrase must have at least ${LEAST_CHARACTERS} characters`,
    );
  }
  const salt = crypto.getRandomValues(new Uint8Array(16))
    .toBase64({ alphabet: "base64url", omitPadding: true });
  const derivation: Derivation = { typ: TYPE, salt, kib: 65_536, passes: 3 };
  return await new CompactEncrypt(new TextEncoder().encode(JSON.stringify(file)))
    .setProtectedHeader({ alg: "dir", enc: "A256GCM", ...derivation })
    .encrypt(await deriveKey(passphrase, derivation));
}

/** Opens what `sealKeys` sealed; throws a KeyFileError that says what to do. */
export async function openKeys(sealed: string, passphrase: string): Promise<KeyFile> {
  try {
    const derivation = Derivation.parse(decodeProtectedHeader(sealed));
    const { plaintext } = await compactDecrypt(sealed, await deriveKey(passphrase, derivation), {
      keyManagementAlgorithms: ["dir"],
      contentEncryptionAlgorithms: ["A256GCM"],
      maxDecompressedLength: 0,
    });
    return KeyFile.parse(JSON.parse(new TextDecoder().decode(plaintext)));
  } catch {
    // No cause: it might repeat what was opened.
    throw new KeyFileError("Cannot open the keys: another passphrase, or a damaged file");
  }
}

function deriveKey(password: string, { salt, kib, passes }: Derivation): Promise<Uint8Array> {
  return argon2id({
    password,
    salt: Uint8Array.fromBase64(salt, { alphabet: "base64url" }),
    parallelism: 1,
    iterations: passes,
    memorySize: kib,
    hashLength: 32,
    outputType: "binary",
  });
}

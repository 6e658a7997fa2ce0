import { canonicalJson } from "@rookery/shared/canonical_json.ts";
import { KeyFileError } from "./key_file.ts";
import type { KeyRing } from "./key_ring.ts";

/**
 * Bytes at rest: AES-256-GCM under a data key of their own, the data key wrapped (RFC 3394) by the
 * key-encryption key `kekId`. Rotation re-wraps 40 bytes and leaves the content alone; forgetting the wrapped
 * key shreds the content.
 */
export interface Envelope extends WrappedKey {
  readonly nonce: Uint8Array;
  readonly ciphertext: Uint8Array;
}

/** A data key, wrapped by the key-encryption key of that id. */
export interface WrappedKey {
  readonly kekId: string;
  readonly wrappedKey: Uint8Array;
}

/** What the bytes are and whose: bound to them as associated data, so they open nowhere else. */
export type SealContext = readonly [purpose: string, ...names: readonly (string | number)[]];

/** Sealed bytes did not open: altered, of another row, or under a key that the key file does not have. */
export class SealError extends Error {
  override readonly name = "SealError";
}

const CONTENT = { name: "AES-GCM", length: 256 } as const;

/** Seals bytes under a new data key. */
export async function sealEnvelope(
  keyRing: KeyRing,
  { context, plaintext }: { context: SealContext; plaintext: Uint8Array<ArrayBuffer> },
): Promise<Envelope> {
  const dataKey = await crypto.subtle.generateKey(CONTENT, true, ["encrypt"]);
  const nonce = crypto.getRandomValues(new Uint8Array(12));
  const kekId = keyRing.currentKekId;
  const [wrappedKey, ciphertext] = await Promise.all([
    crypto.subtle.wrapKey("raw", dataKey, keyRing.kek(kekId), "AES-KW"),
    crypto.subtle.encrypt(cipher(nonce, context), dataKey, plaintext),
  ]);
  return {
    kekId,
    wrappedKey: new Uint8Array(wrappedKey),
    nonce,
    ciphertext: new Uint8Array(ciphertext),
  };
}

/** Opens what `sealEnvelope` sealed for the same context; a SealError otherwise. */
export async function openEnvelope(
  keyRing: KeyRing,
  { context, envelope }: { context: SealContext; envelope: Envelope },
): Promise<Uint8Array<ArrayBuffer>> {
  const { kekId, wrappedKey, nonce, ciphertext } = envelope;
  try {
    const dataKey = await crypto.subtle.unwrapKey(
      "raw",
      Uint8Array.from(wrappedKey),
      keyRing.kek(kekId),
      "AES-KW",
      CONTENT,
      false,
      ["decrypt"],
    );
    const algorithm = cipher(Uint8Array.from(nonce), context);
    const plaintext = await crypto.subtle.decrypt(algorithm, dataKey, owned(ciphertext));
    return new Uint8Array(plaintext);
  } catch (cause) {
    const why = cause instanceof KeyFileError
      ? cause.message
      : "altered, or sealed for another row";
    throw new SealError(`Cannot open ${context.join(" ")}: ${why}`, { cause });
  }
}

/** Wraps a data key by the current key-encryption key; a SealError when it cannot be unwrapped. */
export async function rewrapKey(
  keyRing: KeyRing,
  { kekId, wrappedKey }: WrappedKey,
): Promise<WrappedKey> {
  const to = keyRing.currentKekId;
  const wrapped = Uint8Array.from(wrappedKey);
  const dataKey = await unwrapForWrapping(keyRing, { kekId, wrapped });
  return {
    kekId: to,
    wrappedKey: new Uint8Array(
      await crypto.subtle.wrapKey("raw", dataKey, keyRing.kek(to), "AES-KW"),
    ),
  };
}

async function unwrapForWrapping(
  keyRing: KeyRing,
  { kekId, wrapped }: { readonly kekId: string; readonly wrapped: Uint8Array<ArrayBuffer> },
): Promise<CryptoKey> {
  try {
    const kek = keyRing.kek(kekId);
    return await crypto.subtle.unwrapKey("raw", wrapped, kek, "AES-KW", CONTENT, true, ["encrypt"]);
  } catch (cause) {
    throw new SealError(`Cannot unwrap a data key with ${kekId}`, { cause });
  }
}

function cipher(iv: Uint8Array<ArrayBuffer>, context: SealContext): AesGcmParams {
  const additionalData = new TextEncoder().encode(canonicalJson(["rookery", 1, ...context]));
  return { name: "AES-GCM", iv, additionalData, tagLength: 128 };
}

/** The database hands out views of its network buffer; nothing is copied unless it is a shared one. */
function owned(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const { buffer, byteOffset, byteLength } = bytes;
  return buffer instanceof ArrayBuffer
    ? new Uint8Array(buffer, byteOffset, byteLength)
    : Uint8Array.from(bytes);
}

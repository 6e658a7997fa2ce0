import { sha256 } from "@rookery/shared/canonical_json.ts";
import type { Sha256, SiteId } from "@rookery/shared/ids.ts";
import {
  type Envelope,
  openEnvelope,
  type SealContext,
  sealEnvelope,
  SealError,
} from "../keys/envelope.ts";
import type { KeyRing } from "../keys/key_ring.ts";
import { compress, decompress } from "./zstd.ts";

/** The name of exact bytes: content-addressed, per site. */
export interface BlobName {
  readonly siteId: SiteId;
  readonly sha256: Sha256;
}

/** Sealed exact bytes, and how many they are. */
export interface SealedBlob extends Envelope {
  readonly bytes: number;
}

/**
 * Compressed (zstd), then sealed. Each blob has a data key of its own, wrapped and not derived: rotation of the
 * key-encryption key then touches 40 bytes a blob, and one blob can be shredded.
 */
export async function sealBlob(
  keyRing: KeyRing,
  { bytes, ...name }: BlobName & { readonly bytes: Uint8Array<ArrayBuffer> },
): Promise<SealedBlob> {
  const plaintext = compress(bytes, bytes.length > LARGE_BYTES ? 1 : 6);
  const envelope = await sealEnvelope(keyRing, { context: contextOf(name), plaintext });
  return { ...envelope, bytes: bytes.length };
}

/** Compression runs on the event loop: a large configuration is compressed quickly and not well. */
const LARGE_BYTES = 1_048_576;

/** Opens a blob; a SealError unless it is unaltered, of this name, and has this digest. */
export async function openBlob(
  keyRing: KeyRing,
  { sealed, ...name }: BlobName & { readonly sealed: SealedBlob },
): Promise<Uint8Array<ArrayBuffer>> {
  const compressed = await openEnvelope(keyRing, { context: contextOf(name), envelope: sealed });
  const bytes = decompress(compressed, Math.max(sealed.bytes, 1));
  if (await sha256(bytes) === name.sha256) return bytes;
  throw new SealError(`Cannot open blob ${name.sha256}: its content has another digest`);
}

function contextOf({ siteId, sha256 }: BlobName): SealContext {
  return ["blob", siteId, sha256];
}

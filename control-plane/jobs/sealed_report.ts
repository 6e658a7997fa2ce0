import { compactDecrypt, decodeProtectedHeader } from "jose";
import type { LeaseId, Sha256 } from "@rookery/shared/ids.ts";
import {
  SEALED_CAPTURE_CONTENT,
  SEALED_RESULT_CONTENT,
  SealedReportHeader,
} from "@rookery/shared/jobs/sealed_report.ts";
import { ProblemError, refusedField } from "@rookery/shared/problem.ts";
import { decompressed } from "../backups/zstd.ts";
import type { KeyRing } from "../keys/key_ring.ts";

const MAX_RESULT_BYTES = 1_000_000;

/** What a sealed report must have been sealed for, and how many bytes it may become. */
interface SealedFor {
  readonly lease: LeaseId;
  readonly cty: SealedReportHeader["cty"];
  readonly sha256?: Sha256;
  readonly maxBytes: number;
}

/** Opens the result that an agent kept sealed; a ProblemError names why it does not open. */
export async function openSealedResult(
  keyRing: Pick<KeyRing, "sealingKey">,
  sealed: { readonly jwe: string; readonly leaseId: LeaseId },
): Promise<string> {
  const bytes = await open(keyRing, sealed.jwe, {
    lease: sealed.leaseId,
    cty: SEALED_RESULT_CONTENT,
    maxBytes: MAX_RESULT_BYTES,
  });
  return new TextDecoder().decode(bytes);
}

/** Opens a configuration that an agent kept sealed. Whether it has the digest is still to be checked. */
export async function openSealedCapture(
  keyRing: Pick<KeyRing, "sealingKey">,
  sealed: {
    readonly jwe: string;
    readonly leaseId: LeaseId;
    readonly sha256: Sha256;
    readonly maxBytes: number;
  },
): Promise<Uint8Array<ArrayBuffer>> {
  const { jwe, leaseId: lease, sha256, maxBytes } = sealed;
  return await open(keyRing, jwe, { lease, cty: SEALED_CAPTURE_CONTENT, sha256, maxBytes });
}

async function open(
  keyRing: Pick<KeyRing, "sealingKey">,
  jwe: string,
  wanted: SealedFor,
): Promise<Uint8Array<ArrayBuffer>> {
  const header = readHeader(jwe);
  const wrong = (["lease", "cty", "sha256"] as const)
    .find((field) => header[field] !== wanted[field]);
  if (wrong) throw refused(`its ${wrong} is not that of this request`);
  const pair = keyRing.sealingKey(header.kid);
  if (!pair) throw refused(`it is sealed to the key ${header.kid}, which is not known here`);
  return decompressed(await decrypt(jwe, pair.privateKey), wanted.maxBytes);
}

function readHeader(jwe: string): SealedReportHeader {
  try {
    return SealedReportHeader.parse(decodeProtectedHeader(jwe));
  } catch (cause) {
    throw refused("its header is none of a sealed report", cause);
  }
}

async function decrypt(jwe: string, key: CryptoKey): Promise<Uint8Array> {
  try {
    const { plaintext } = await compactDecrypt(jwe, key, {
      keyManagementAlgorithms: ["ECDH-ES"],
      contentEncryptionAlgorithms: ["A256GCM"],
      maxDecompressedLength: 0,
    });
    return plaintext;
  } catch (cause) {
    throw refused("it does not open: altered, or cut", cause);
  }
}

function refused(why: string, cause?: unknown): ProblemError {
  return refusedField("#/sealed", why, cause);
}

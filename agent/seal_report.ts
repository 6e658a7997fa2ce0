import { CompactEncrypt, importJWK } from "jose";
import type { LeaseId, Sha256 } from "@rookery/shared/ids.ts";
import {
  SEALED_CAPTURE_CONTENT,
  SEALED_REPORT_TYPE,
  SEALED_RESULT_CONTENT,
} from "@rookery/shared/jobs/sealed_report.ts";
import type { SealingKey } from "./key_chain.ts";
import { compress } from "./zstd.ts";

/** Seals a signed result to a key of the control plane, bound to its lease: nothing that this agent has opens it. */
export async function sealResult(
  key: SealingKey,
  { leaseId: lease, result }: { leaseId: LeaseId; result: string },
): Promise<string> {
  const bytes = new TextEncoder().encode(result);
  return await seal(key, { cty: SEALED_RESULT_CONTENT, lease }, bytes);
}

/** Seals the exact bytes of a configuration for the control plane, bound to their lease and digest. */
export async function sealCapture(
  key: SealingKey,
  { leaseId: lease, sha256, bytes }: { leaseId: LeaseId; sha256: Sha256; bytes: Uint8Array },
): Promise<string> {
  return await seal(key, { cty: SEALED_CAPTURE_CONTENT, lease, sha256 }, bytes);
}

/** Compressed first: what is sealed does not compress any more. */
async function seal(
  { kid, ...jwk }: SealingKey,
  names: { cty: string; lease: LeaseId; sha256?: Sha256 },
  bytes: Uint8Array,
): Promise<string> {
  return await new CompactEncrypt(compress(bytes))
    .setProtectedHeader({ alg: "ECDH-ES", enc: "A256GCM", typ: SEALED_REPORT_TYPE, kid, ...names })
    .encrypt(await importJWK(jwk, "ECDH-ES"));
}

import { z } from "zod";
import { LeaseId, Sha256 } from "../ids.ts";

/** The JWE type of what an agent seals for the control plane, so that no other token can pass for it. */
export const SEALED_REPORT_TYPE = "rookery-report+jwe";
/** The content type of a sealed configuration: its exact bytes, compressed (RFC 8878). */
export const SEALED_CAPTURE_CONTENT = "rookery-capture+zstd";
/** The content type of a sealed result: the JWS that the agent would have sent (see `ResultClaims`), compressed. */
export const SEALED_RESULT_CONTENT = "rookery-result+zstd";

/**
 * The protected header of a sealed report (compact JWE, ECDH-ES over X25519 with A256GCM). It names the key of the
 * control plane that opens it, and the lease and the digest that it was sealed for: it opens for no other.
 */
export const SealedReportHeader = z.object({
  alg: z.literal("ECDH-ES"),
  enc: z.literal("A256GCM"),
  typ: z.literal(SEALED_REPORT_TYPE),
  cty: z.enum([SEALED_CAPTURE_CONTENT, SEALED_RESULT_CONTENT]),
  kid: z.string().max(100),
  lease: LeaseId,
  /** Of the exact bytes of a configuration; a result has none. */
  sha256: Sha256.optional(),
});
export type SealedReportHeader = z.infer<typeof SealedReportHeader>;

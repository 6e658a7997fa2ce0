import { createHash } from "node:crypto";

/** A new secret of 256 bits with a prefix that secret scanners and people recognise: `rkt_…`. */
export function newSecret(prefix: "rks" | "rkt" | "rku" | "rkr" | "rkb" | "rko"): string {
  const bytes = crypto.getRandomValues(new Uint8Array(32));
  return `${prefix}_${bytes.toBase64({ alphabet: "base64url", omitPadding: true })}`;
}

/**
 * What is stored instead of such a secret. Plain SHA-256 is enough for 256 random bits, and looking it up by its digest
 * leaves nothing to compare in constant time.
 */
export function digestSecret(secret: string): string {
  return createHash("sha256").update(secret).digest("hex");
}

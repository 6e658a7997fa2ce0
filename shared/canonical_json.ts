import { Sha256 } from "./ids.ts";

/** JSON with sorted keys and no white space, so that equal data has equal text (RFC 8785 for our value types). */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) => {
    if (inner === null || typeof inner !== "object" || Array.isArray(inner)) return inner;
    return Object.fromEntries(
      Object.entries(inner).sort(([left], [right]) => (left < right ? -1 : left > right ? 1 : 0)),
    );
  });
}

/** SHA-256 of bytes or of UTF-8 text, in hexadecimal. */
export async function sha256(data: string | Uint8Array<ArrayBuffer>): Promise<Sha256> {
  const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
  const digest = await crypto.subtle.digest("SHA-256", bytes);
  return Sha256.parse(new Uint8Array(digest).toHex());
}

/** SHA-256 of the canonical JSON of a value. */
export function digestOf(value: unknown): Promise<Sha256> {
  return sha256(canonicalJson(value));
}

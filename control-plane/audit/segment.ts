import { CompactSign, compactVerify } from "jose";
import { z } from "zod";
import { canonicalJson, sha256 } from "@rookery/shared/canonical_json.ts";
import { Instant, Sha256 } from "@rookery/shared/ids.ts";
import type { KeyRing } from "../keys/key_ring.ts";

export const SEGMENT_TYPE = "rookery-audit-segment+json";
export const FLOOR_TYPE = "rookery-audit-floor+json";

/** A place in the order of commits: `incarnation`, because a restored database counts its transactions anew. */
export const RowPlace = z.strictObject({
  incarnation: z.int(),
  xid: z.string().regex(/^\d{1,20}$/),
  id: z.uuid(),
});
export type RowPlace = z.infer<typeof RowPlace>;

/** What is signed of a segment: which rows it has, and which segment it follows. */
export const SegmentStatement = z.strictObject({
  /** Names the installation. */
  iss: z.string(),
  number: z.int().min(1),
  /** Of the signed statement of the segment before; `NOTHING` for the first one. */
  previousSha256: Sha256,
  first: RowPlace,
  last: RowPlace,
  rowCount: z.int().min(1),
  /** Of `packDigests`. */
  rowsSha256: Sha256,
  oldestAt: Instant,
  newestAt: Instant,
  sealedAt: Instant,
});
export type SegmentStatement = z.infer<typeof SegmentStatement>;

/** What is signed of the segments that retention has dropped: all up to this one. */
export const FloorStatement = z.strictObject({
  iss: z.string(),
  number: z.int().min(1),
  /** Of that segment's signed statement, which the next one names. */
  sha256: Sha256,
  last: RowPlace,
  /** In all, since the installation was made. */
  droppedRows: z.int().min(1),
  newestAt: Instant,
  droppedAt: Instant,
});
export type FloorStatement = z.infer<typeof FloorStatement>;

/** What the first segment names as the one before it. */
export const NOTHING = Sha256.parse("0".repeat(64));

/** Signs a statement by the key in use (JWS, Ed25519). */
export async function signStatement(
  keyRing: KeyRing,
  { type, statement }: { readonly type: string; readonly statement: object },
): Promise<string> {
  const { kid, privateKey } = keyRing.signing;
  return await new CompactSign(new TextEncoder().encode(canonicalJson(statement)))
    .setProtectedHeader({ alg: "Ed25519", typ: type, kid })
    .sign(privateKey);
}

/** What was signed, by any key that the installation ever had; undefined when nothing of that type and form was. */
export async function readStatement<Statement extends { readonly iss: string }>(
  { keyRing, issuer }: { readonly keyRing: KeyRing; readonly issuer: string },
  { signature, type, schema }: {
    readonly signature: string;
    readonly type: string;
    readonly schema: z.ZodType<Statement>;
  },
): Promise<Statement | undefined> {
  try {
    const keyOf = ({ kid = "" }: { kid?: string }) => {
      const key = keyRing.anySigningPublicKey(kid);
      if (!key) throw new Error(`There is no key ${kid}`);
      return key;
    };
    const { payload, protectedHeader } = await compactVerify(signature, keyOf, {
      algorithms: ["Ed25519"],
    });
    const statement = schema.parse(JSON.parse(new TextDecoder().decode(payload)));
    return protectedHeader.typ === type && statement.iss === issuer ? statement : undefined;
  } catch {
    return undefined;
  }
}

/** What the next segment names of this one. */
export function digestOfSignature(signature: string): Promise<Sha256> {
  return sha256(signature);
}

import { type Kysely, sql, type Transaction } from "kysely";
import type { Database } from "../database/schema.ts";

/** Longer than any nonce is accepted: a proof is forgotten only when it is worthless anyway. */
const REMEMBER_SECONDS = 1_200;

/**
 * Notes a proof that opens a session; false when it was used before, at whichever replica. Each counts once, since a
 * replayed one would take the session over with a body of somebody else's.
 */
export async function takeProof(
  tx: Transaction<Database>,
  proof: { readonly thumbprint: string; readonly jti: string },
): Promise<boolean> {
  const { rows } = await sql`
    insert into used_proofs (thumbprint, jti) values (${proof.thumbprint}, ${proof.jti})
    on conflict do nothing returning 1`.execute(tx);
  return rows.length > 0;
}

export async function forgetOldProofs(db: Kysely<Database>): Promise<void> {
  await sql`
    delete from used_proofs
    where used_at < clock_timestamp() - make_interval(secs => ${REMEMBER_SECONDS})`.execute(db);
}

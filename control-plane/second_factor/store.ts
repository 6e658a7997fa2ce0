import { type Kysely, type Selectable, sql, type Transaction } from "kysely";
import type { UserId } from "@rookery/shared/ids.ts";
import type { Database, TotpFactorsTable } from "../database/schema.ts";
import type { Envelope } from "../keys/envelope.ts";
import { inForce } from "../settings/in_force.ts";

export type TotpFactorRow = Selectable<TotpFactorsTable>;

/** Whether logins of the user in the row `users` ask for a code. */
export const hasSecondFactor = sql<boolean>`exists (
  select from totp_factors where user_id = users.id and confirmed_at is not null)`;

/** Whether the installation demands a second factor of the user in the row `users`. */
export const isDemanded = sql<boolean>`(case ${inForce("security.second_factor")}
  when 'all' then true when 'administrators' then users.administrator else false end)`;

/**
 * Whether they have to enrol before they do anything else. Who has no password signs in at an OpenID provider, whose affair a
 * second factor is then.
 */
export const mustEnrol = sql<boolean>`(
  ${isDemanded} and users.password_hash is not null and not ${hasSecondFactor})`;

export function findFactor(
  db: Kysely<Database>,
  userId: UserId,
): Promise<TotpFactorRow | undefined> {
  return db.selectFrom("totpFactors").selectAll().where("userId", "=", userId).executeTakeFirst();
}

export async function isDemandedOf(db: Kysely<Database>, userId: UserId): Promise<boolean> {
  const row = await db.selectFrom("users").select(isDemanded.as("demanded"))
    .where("id", "=", userId).executeTakeFirst();
  return row?.demanded ?? false;
}

/** Keeps a secret that is to be confirmed, in place of one that never was; false when there is one in force. */
export async function insertFactor(
  tx: Transaction<Database>,
  { userId, envelope }: { readonly userId: UserId; readonly envelope: Envelope },
): Promise<boolean> {
  const { kekId, wrappedKey, nonce, ciphertext } = envelope;
  const sealed = { kekId, wrappedKey, nonce, ciphertext };
  const { numInsertedOrUpdatedRows = 0n } = await tx.insertInto("totpFactors")
    .values({ userId, confirmedAt: null, ...sealed })
    .onConflict((conflict) =>
      conflict.column("userId").doUpdateSet({ ...sealed, lastStep: "0" })
        .where("totpFactors.confirmedAt", "is", null)
    ).executeTakeFirst();
  return numInsertedOrUpdatedRows > 0n;
}

/** Puts it in force; false when it is already, or gone. */
export async function confirmFactor(tx: Transaction<Database>, userId: UserId): Promise<boolean> {
  const { numUpdatedRows } = await tx.updateTable("totpFactors").set({ confirmedAt: sql`now()` })
    .where("userId", "=", userId).where("confirmedAt", "is", null).executeTakeFirst();
  return numUpdatedRows > 0n;
}

/** A code that was seen works no more, nor does one from before it (RFC 6238, 5.2). False: it was used already. */
export async function takeStep(
  db: Kysely<Database>,
  { userId, step }: { readonly userId: UserId; readonly step: number },
): Promise<boolean> {
  const { numUpdatedRows } = await db.updateTable("totpFactors").set({ lastStep: String(step) })
    .where("userId", "=", userId).where("lastStep", "<", String(step)).executeTakeFirst();
  return numUpdatedRows > 0n;
}

/** Switches it off, with its recovery codes; false when there was none. */
export async function deleteFactor(tx: Transaction<Database>, userId: UserId): Promise<boolean> {
  await tx.deleteFrom("recoveryCodes").where("userId", "=", userId).execute();
  const { numDeletedRows } = await tx.deleteFrom("totpFactors").where("userId", "=", userId)
    .executeTakeFirst();
  return numDeletedRows > 0n;
}

/** Keeps the digests of a person's recovery codes, in place of those before. */
export async function replaceRecoveryCodes(
  tx: Transaction<Database>,
  { userId, digests }: { readonly userId: UserId; readonly digests: readonly string[] },
): Promise<void> {
  await tx.deleteFrom("recoveryCodes").where("userId", "=", userId).execute();
  const rows = digests.map((codeSha256) => ({ userId, codeSha256 }));
  await tx.insertInto("recoveryCodes").values(rows).execute();
}

/** Uses a recovery code up; false when it is none, or was used. Of two at once, one gets it. */
export async function takeRecoveryCode(
  db: Kysely<Database>,
  { userId, codeSha256 }: { readonly userId: UserId; readonly codeSha256: string },
): Promise<boolean> {
  const { numDeletedRows } = await db.deleteFrom("recoveryCodes").where("userId", "=", userId)
    .where("codeSha256", "=", codeSha256).executeTakeFirst();
  return numDeletedRows > 0n;
}

export async function countRecoveryCodes(db: Kysely<Database>, userId: UserId): Promise<number> {
  const { n } = await db.selectFrom("recoveryCodes").where("userId", "=", userId)
    .select(sql<number>`count(*)::int`.as("n")).executeTakeFirstOrThrow();
  return n;
}

import { type Kysely, sql, type Transaction } from "kysely";
import type { RoleId, UserId } from "@rookery/shared/ids.ts";
import type { Database } from "../database/schema.ts";
import type { Envelope } from "../keys/envelope.ts";

/** A client of ours at a provider. */
export interface OidcClient {
  readonly issuer: string;
  readonly clientId: string;
}

/** A person at a provider. */
export interface OidcSubject {
  readonly issuer: string;
  readonly subject: string;
}

export function findClientSecret(
  db: Kysely<Database>,
  { issuer, clientId }: OidcClient,
): Promise<Envelope | undefined> {
  return db.selectFrom("oidcClients").select(["kekId", "wrappedKey", "nonce", "ciphertext"])
    .where("issuer", "=", issuer).where("clientId", "=", clientId).executeTakeFirst();
}

export async function upsertClientSecret(
  tx: Transaction<Database>,
  { issuer, clientId, envelope }: OidcClient & { readonly envelope: Envelope },
): Promise<void> {
  const { kekId, wrappedKey, nonce, ciphertext } = envelope;
  const sealed = { kekId, wrappedKey, nonce, ciphertext };
  await tx.insertInto("oidcClients").values({ issuer, clientId, ...sealed })
    .onConflict((conflict) => conflict.columns(["issuer", "clientId"]).doUpdateSet(sealed))
    .execute();
}

export async function deleteClientSecret(
  tx: Transaction<Database>,
  { issuer, clientId }: OidcClient,
): Promise<void> {
  await tx.deleteFrom("oidcClients").where("issuer", "=", issuer)
    .where("clientId", "=", clientId).execute();
}

/** The user that a person at a provider is here; undefined at their first sign-in. */
export async function findUserOf(
  tx: Transaction<Database>,
  { issuer, subject }: OidcSubject,
): Promise<UserId | undefined> {
  const row = await tx.selectFrom("oidcIdentities").select("userId").where("issuer", "=", issuer)
    .where("subject", "=", subject).executeTakeFirst();
  return row?.userId;
}

export async function insertIdentity(
  tx: Transaction<Database>,
  identity: OidcSubject & { readonly userId: UserId },
): Promise<void> {
  await tx.insertInto("oidcIdentities").values(identity).execute();
}

/** The roles of these names, in the order of their ids. */
export async function findRoles(
  tx: Transaction<Database>,
  names: readonly string[],
): Promise<RoleId[]> {
  const rows = await tx.selectFrom("roles").select("id")
    .where(sql<boolean>`name = any(${names}::text[])`).orderBy("id").execute();
  return rows.map(({ id }) => id);
}

export async function isEmailTaken(tx: Transaction<Database>, email: string): Promise<boolean> {
  const { rows } = await sql`select 1 from users
    where lower(email collate "C") = lower(${email}::text collate "C")`.execute(tx);
  return rows.length > 0;
}

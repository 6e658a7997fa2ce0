/** Logins of a file on their way to credentials: sealed while the file is read, moved when it is applied. */
import { type Kysely, sql, type Transaction } from "kysely";
import type { CredentialId, ImportId } from "@rookery/shared/ids.ts";
import { given } from "../audit/changed_fields.ts";
import { type Actor, writeAudits } from "../audit/store.ts";
import { sealSecrets } from "../credentials/vault.ts";
import { newId } from "../database/new_id.ts";
import type { Database } from "../database/schema.ts";
import type { KeyRing } from "../keys/key_ring.ts";
import type { PlannedRow } from "./plan_rows.ts";
import type { GivenRow, Login } from "./read_rows.ts";

/** A credential that an import makes. */
export interface NewCredential {
  readonly credentialId: CredentialId;
  readonly name: string;
  readonly username: string;
}

/** A login with the credential that it will be; devices with the same login share it. */
export type NamedLogin = Login & NewCredential;

/** Names each login once; by the row's number. */
export function nameLogins(
  rows: readonly GivenRow[],
  importId: ImportId,
): ReadonlyMap<number, NamedLogin> {
  const known = new Map<string, NamedLogin>();
  const named = new Map<number, NamedLogin>();
  for (const { number, login } of rows) {
    if (!login) continue;
    const key = JSON.stringify([login.username, login.password, login.enableSecret]);
    const credential = known.get(key) ?? nameLogin(login, { importId, nth: known.size + 1 });
    known.set(key, credential);
    named.set(number, credential);
  }
  return named;
}

function nameLogin(
  login: Login,
  { importId, nth }: { importId: ImportId; nth: number },
): NamedLogin {
  const name = `${login.username.slice(0, 60)}, import ${importId.slice(-12)}-${nth}`;
  return { ...login, credentialId: newId<CredentialId>(), name };
}

/** The logins that rows to be applied need. */
export function neededLogins(
  rows: readonly PlannedRow[],
  named: ReadonlyMap<number, NamedLogin>,
): readonly NamedLogin[] {
  const needed = rows.filter(({ action }) => action === "create" || action === "change");
  const logins = needed.map(({ number }) => named.get(number));
  return [...new Set(logins.filter((login) => login !== undefined))];
}

/** Seals logins for `import_secrets`, as the first versions of their credentials. */
export function sealLogins(keyRing: KeyRing, logins: readonly NamedLogin[]) {
  return Promise.all(logins.map(async ({ credentialId, name, username, ...login }) => {
    const { password, enableSecret } = login;
    const secrets = given({ password, enableSecret });
    const envelope = await sealSecrets(keyRing, { credentialId, version: 1, secrets });
    const hasEnableSecret = enableSecret !== undefined;
    return { credentialId, name, username, hasEnableSecret, ...envelope };
  }));
}

interface NewRow {
  readonly id: CredentialId;
  readonly name: string;
  readonly username: string;
  readonly hasEnableSecret: boolean;
}

/** Makes the credentials of these ids, as far as the import has them sealed; their secrets stay sealed all the way. */
export async function makeCredentials(
  tx: Transaction<Database>,
  { importId, ids, actor }: {
    readonly importId: ImportId;
    readonly ids: readonly CredentialId[];
    readonly actor: Actor;
  },
): Promise<void> {
  if (ids.length === 0) return;
  const { rows: made } = await sql<NewRow>`
    with taken as (
      delete from import_secrets
      where import_id = ${importId} and credential_id = any(${ids}::uuid[]) returning *
    ), made as (
      insert into credentials (id, tenant_id, name, username)
      select t.credential_id, i.tenant_id, t.name, t.username
      from taken t join imports i on i.id = t.import_id
      on conflict do nothing returning id, name, username
    ), versioned as (
      insert into credential_versions (credential_id, version, kek_id, wrapped_key, nonce,
        ciphertext, has_password, has_private_key, has_enable_secret)
      select m.id, 1, t.kek_id, t.wrapped_key, t.nonce, t.ciphertext, true, false,
        t.has_enable_secret
      from made m join taken t on t.credential_id = m.id
    )
    select m.*, t.has_enable_secret from made m join taken t on t.credential_id = m.id`.execute(tx);
  await writeAudits(
    tx,
    made.map(({ id, name, username, hasEnableSecret }) => ({
      actor,
      action: "credential.create",
      target: { kind: "credential", id },
      detail: {
        name,
        username,
        given: hasEnableSecret ? ["password", "enableSecret"] : ["password"],
        importId,
      },
    })),
  );
}

/** Deletes the credentials that an import made, but for those that something uses or that somebody changed. */
export async function dropCredentials(
  tx: Transaction<Database>,
  { importId, actor }: { readonly importId: ImportId; readonly actor: Actor },
): Promise<void> {
  const { rows: gone } = await sql<{ id: CredentialId; name: string }>`
    delete from credentials c
    using imports i cross join jsonb_to_recordset(i.new_credentials) as n("credentialId" uuid)
    where i.id = ${importId} and c.id = n."credentialId" and c.tenant_id = i.tenant_id
      and c.updated_at = c.created_at
      and not exists (select 1 from devices d where d.credential_id = c.id)
    returning c.id, c.name`.execute(tx);
  await writeAudits(
    tx,
    gone.map(({ id, name }) => ({
      actor,
      action: "credential.delete",
      target: { kind: "credential", id },
      detail: { name, importId },
    })),
  );
}

/** Stores sealed logins with their import. */
export async function insertSecrets(
  tx: Kysely<Database>,
  importId: ImportId,
  sealed: Awaited<ReturnType<typeof sealLogins>>,
): Promise<void> {
  // Nine columns each: below the most parameters that a statement may have.
  for (let at = 0; at < sealed.length; at += 1_000) {
    const values = sealed.slice(at, at + 1_000).map((secret) => ({ importId, ...secret }));
    await tx.insertInto("importSecrets").values(values).execute();
  }
}

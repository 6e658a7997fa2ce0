/** Credentials and logins for tests of the ramp: devices are told from outside whether they take a password. */
import { type Kysely, sql } from "kysely";
import type { CredentialId } from "@rookery/shared/ids.ts";
import { loginVerdict } from "../../control-plane/credentials/credential_state.ts";
import { newId } from "../../control-plane/database/new_id.ts";
import type { Database } from "../../control-plane/database/schema.ts";
import { inTransaction } from "../../control-plane/database/transaction.ts";
import { acceptWithLogin } from "../../control-plane/jobs/accept_login.ts";
import type { Acceptance } from "../../control-plane/jobs/accept.ts";
import type { GrantedLease } from "../../control-plane/jobs/claim.ts";
import { endQuarantined } from "../../control-plane/jobs/end_quarantined.ts";
import { COMPLETED, failed } from "./queue.ts";

/** A credential whose sealed secrets nobody opens. */
export async function makeCredential(db: Kysely<Database>): Promise<CredentialId> {
  const id = newId<CredentialId>();
  await sql`
    insert into credentials (id, tenant_id, name, username)
    select ${id}, id, ${id}, 'backup' from tenants limit 1`.execute(db);
  await addVersion(db, id, 1);
  return id;
}

/** As saving new secrets does. */
export async function addVersion(
  db: Kysely<Database>,
  credentialId: CredentialId,
  version: number,
): Promise<void> {
  await sql`
    insert into credential_versions (credential_id, version, kek_id, wrapped_key, nonce, ciphertext,
      has_password, has_private_key, has_enable_secret)
    values (${credentialId}, ${version}, 'none', '', '', '', true, false, false)`.execute(db);
  await sql`update credentials set current_version = ${version} where id = ${credentialId}`
    .execute(db);
}

/** Makes a version one that has worked for long, and last so many minutes ago. */
export async function trust(
  db: Kysely<Database>,
  credentialId: CredentialId,
  { minutesAgo }: { minutesAgo: number },
): Promise<void> {
  await sql`
    update credential_versions set state = 'trusted', ramp = null, refusing = '{}',
      last_success_at = clock_timestamp() - make_interval(mins => ${minutesAgo})
    where credential_id = ${credentialId}`.execute(db);
}

export async function versionOf(db: Kysely<Database>, credentialId: CredentialId) {
  return await db.selectFrom("credentialVersions as v")
    .innerJoin("credentials as c", "c.id", "v.credentialId")
    .whereRef("c.currentVersion", "=", "v.version").where("c.id", "=", credentialId)
    .select(["v.state", "v.ramp", "v.refusing"]).executeTakeFirstOrThrow();
}

/** Reports how a session's login went, as the route of results does. */
export async function reportLogin(
  db: Kysely<Database>,
  lease: GrantedLease,
  login: "accepted" | "auth_rejected" | "unreachable",
): Promise<Acceptance> {
  const acceptance = await inTransaction(db, async (tx) => {
    const grant = await tx.selectFrom("grants").selectAll()
      .where("leaseId", "=", lease.leaseId).executeTakeFirstOrThrow();
    const envelope = { sha256: `login-${lease.leaseId}`, durationMs: 5 };
    const result = login === "accepted"
      ? { verdict: COMPLETED, login: { accepted: true } as const }
      : { verdict: failed(login), login: loginVerdict(login) };
    return await acceptWithLogin(tx, grant, { ...result, envelope });
  });
  if (acceptance.quarantined) await endQuarantined(db);
  return acceptance;
}

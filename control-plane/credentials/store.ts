import { type Insertable, type Kysely, sql } from "kysely";
import type { CredentialState } from "@rookery/shared/api/credentials.ts";
import type { CredentialId, TenantId } from "@rookery/shared/ids.ts";
import type { CredentialsTable, CredentialVersionsTable, Database } from "../database/schema.ts";
import type { Scope } from "../permissions/scope.ts";

/** A credential with what may be known of its current version. */
export interface CredentialRow {
  readonly id: CredentialId;
  readonly tenantId: TenantId;
  readonly name: string;
  readonly username: string;
  readonly version: number;
  readonly hasPassword: boolean;
  readonly hasPrivateKey: boolean;
  readonly hasEnableSecret: boolean;
  readonly state: CredentialState;
  readonly devices: number;
  readonly archivedDevices: number;
  readonly createdAt: Temporal.Instant;
  readonly updatedAt: Temporal.Instant;
}

export interface CredentialSelection {
  readonly scope: Scope;
  readonly limit: number;
  readonly credentialId?: CredentialId;
  readonly after?: CredentialId | undefined;
}

/** Credentials belong to tenants: visible are those of tenants of which at least one site is. */
export async function selectCredentials(
  db: Kysely<Database>,
  selection: CredentialSelection,
): Promise<CredentialRow[]> {
  const { after, credentialId, scope } = selection;
  const visible = scope.all
    ? sql`true`
    : sql`c.tenant_id in (select tenant_id from sites where id = any(${[
      ...scope.siteIds,
    ]}::uuid[]))`;
  const { rows } = await sql<CredentialRow>`
    select c.id, c.tenant_id, c.name, c.username, v.version, v.has_password, v.has_private_key,
      v.has_enable_secret, v.state, c.created_at, c.updated_at,
      (select count(*)::int from devices d where d.credential_id = c.id and d.archived_at is null)
        as devices,
      (select count(*)::int from devices d
        where d.credential_id = c.id and d.archived_at is not null) as archived_devices
    from credentials c join credential_versions v
      on v.credential_id = c.id and v.version = c.current_version
    where ${visible}
      ${after === undefined ? sql`` : sql`and c.id > ${after}`}
      ${credentialId === undefined ? sql`` : sql`and c.id = ${credentialId}`}
    order by c.id limit ${selection.limit}`.execute(db);
  return rows;
}

export async function insertCredential(
  db: Kysely<Database>,
  credential: Insertable<CredentialsTable>,
): Promise<void> {
  await db.insertInto("credentials").values(credential).execute();
}

export async function insertVersion(
  db: Kysely<Database>,
  version: Insertable<CredentialVersionsTable>,
): Promise<void> {
  await db.insertInto("credentialVersions").values(version).execute();
}

/** Locks a credential, so that two changes make two versions. */
export async function lockVersion(db: Kysely<Database>, id: CredentialId): Promise<number> {
  const row = await db.selectFrom("credentials").select("currentVersion").where("id", "=", id)
    .forNoKeyUpdate().executeTakeFirstOrThrow();
  return row.currentVersion;
}

export async function updateCredential(
  db: Kysely<Database>,
  id: CredentialId,
  change: { name?: string; username?: string; currentVersion?: number },
): Promise<void> {
  await db.updateTable("credentials").set({ ...change, updatedAt: sql<Temporal.Instant>`now()` })
    .where("id", "=", id).execute();
}

export async function deleteCredential(db: Kysely<Database>, id: CredentialId): Promise<void> {
  await db.deleteFrom("credentials").where("id", "=", id).execute();
}

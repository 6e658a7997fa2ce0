import { type Insertable, type Kysely, sql } from "kysely";
import type { CredentialKind, CredentialState } from "@rookery/shared/api/credentials.ts";
import type { CredentialId, TenantId } from "@rookery/shared/ids.ts";
import type { CredentialsTable, CredentialVersionsTable, Database } from "../database/schema.ts";
import { isTenantVisible, isVisible, type Scope } from "../permissions/scope.ts";
import { liveLimit } from "./ramp.ts";

/** A credential with what may be known of its current version. */
export interface CredentialRow {
  readonly id: CredentialId;
  readonly tenantId: TenantId;
  readonly name: string;
  readonly kind: CredentialKind;
  readonly username: string;
  readonly localName: string | null;
  readonly version: number;
  readonly hasPassword: boolean;
  readonly hasPrivateKey: boolean;
  readonly hasEnableSecret: boolean;
  readonly state: CredentialState;
  readonly stateSince: Temporal.Instant;
  readonly mostSessions: number | null;
  readonly lastSuccessAt: Temporal.Instant | null;
  readonly lastRefusedAt: Temporal.Instant | null;
  readonly refusing: number;
  readonly quarantinedDevices: number;
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

/**
 * Credentials belong to tenants: visible are those of tenants of which at least one site is. Devices are counted at the
 * visible sites only: how many another site has is nobody's business there.
 */
export async function selectCredentials(
  db: Kysely<Database>,
  selection: CredentialSelection,
): Promise<CredentialRow[]> {
  const { after, credentialId, scope } = selection;
  const { rows } = await sql<CredentialRow>`
    select c.id, c.tenant_id, c.name, c.kind, c.username, c.local_name, v.version, v.has_password,
      v.has_private_key, v.has_enable_secret, v.state, v.state_since, v.last_success_at,
      v.last_refused_at, c.created_at, c.updated_at, ${liveLimit} as most_sessions,
      ${countRefusing(scope)} as refusing,
      (select count(*)::int from credential_refusals q join devices d on d.id = q.device_id
        where q.credential_id = c.id and q.version = v.version and q.quarantined_at is not null
          and ${isVisible("d.site_id", scope)}) as quarantined_devices,
      (select count(*)::int from devices d where d.credential_id = c.id and d.archived_at is null
        and ${isVisible("d.site_id", scope)}) as devices,
      (select count(*)::int from devices d where d.credential_id = c.id
        and d.archived_at is not null and ${isVisible("d.site_id", scope)}) as archived_devices
    from credentials c join credential_versions v
      on v.credential_id = c.id and v.version = c.current_version
    where ${isTenantVisible("c.tenant_id", scope)}
      ${after === undefined ? sql`` : sql`and c.id > ${after}`}
      ${credentialId === undefined ? sql`` : sql`and c.id = ${credentialId}`}
    order by c.id limit ${selection.limit}`.execute(db);
  return rows;
}

/** Of the version in the row `v`: the devices that refused it since its last success, as far as they may be seen. */
function countRefusing(scope: Scope) {
  return sql<number>`(select count(*)::int from devices d where d.id = any(v.refusing)
    and ${isVisible("d.site_id", scope)})`;
}

/** How many devices have a credential, whoever may see them. */
export async function countDevices(db: Kysely<Database>, id: CredentialId) {
  const { rows: [row] } = await sql<{ devices: number; archivedDevices: number }>`
    select count(*) filter (where archived_at is null)::int as devices,
      count(*) filter (where archived_at is not null)::int as archived_devices
    from devices where credential_id = ${id}`.execute(db);
  return row ?? { devices: 0, archivedDevices: 0 };
}

/** The versions of a credential, newest first. */
export async function selectVersions(
  db: Kysely<Database>,
  selection: {
    scope: Scope;
    credentialId: CredentialId;
    before?: number | undefined;
    limit: number;
  },
) {
  const { before, credentialId, limit, scope } = selection;
  const { rows } = await sql<VersionRow>`
    select v.version, v.version = c.current_version as current, v.state, v.state_since,
      ${liveLimit} as most_sessions, v.last_success_at, v.last_refused_at,
      ${countRefusing(scope)} as refusing, v.created_at
    from credential_versions v join credentials c on c.id = v.credential_id
    where v.credential_id = ${credentialId}
      ${before === undefined ? sql`` : sql`and v.version < ${before}`}
    order by v.version desc limit ${limit}`.execute(db);
  return rows;
}

export interface VersionRow {
  readonly version: number;
  readonly current: boolean;
  readonly state: CredentialState;
  readonly stateSince: Temporal.Instant;
  readonly mostSessions: number | null;
  readonly lastSuccessAt: Temporal.Instant | null;
  readonly lastRefusedAt: Temporal.Instant | null;
  readonly refusing: number;
  readonly createdAt: Temporal.Instant;
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
export function lockCredential(db: Kysely<Database>, id: CredentialId) {
  return db.selectFrom("credentials").select(["kind", "username", "localName", "currentVersion"])
    .where("id", "=", id).forNoKeyUpdate().executeTakeFirstOrThrow();
}

export async function updateCredential(
  db: Kysely<Database>,
  id: CredentialId,
  change: { name?: string; username?: string; localName?: string; currentVersion?: number },
): Promise<void> {
  await db.updateTable("credentials").set({ ...change, updatedAt: sql<Temporal.Instant>`now()` })
    .where("id", "=", id).execute();
}

export async function deleteCredential(db: Kysely<Database>, id: CredentialId): Promise<void> {
  await db.deleteFrom("credentials").where("id", "=", id).execute();
}

import { type Kysely, sql, type Transaction } from "kysely";
import type { CredentialId, DeviceId, SiteId } from "@rookery/shared/ids.ts";
import type { FailureCode } from "@rookery/shared/jobs/failure.ts";
import type { Database } from "../database/schema.ts";
import { isVisible, type Scope } from "../permissions/scope.ts";

/** A device with a credential, and its refusals of the current version. */
export interface UseRow {
  readonly deviceId: DeviceId;
  readonly siteId: SiteId;
  readonly name: string;
  readonly archived: boolean;
  readonly refusals: number;
  readonly failureCode: FailureCode | null;
  readonly firstRefusedAt: Temporal.Instant | null;
  readonly lastRefusedAt: Temporal.Instant | null;
  readonly quarantinedAt: Temporal.Instant | null;
}

export interface UseSelection {
  readonly scope: Scope;
  readonly credentialId: CredentialId;
  readonly limit: number;
  readonly state?: "refusing" | "quarantined" | undefined;
  readonly after?: DeviceId | undefined;
}

/** The devices that have a credential, as far as the caller may see them. */
export async function selectUses(
  db: Kysely<Database>,
  { after, credentialId, limit, scope, state }: UseSelection,
): Promise<UseRow[]> {
  const { rows } = await sql<UseRow>`
    select d.id as device_id, d.site_id, d.name, d.archived_at is not null as archived,
      coalesce(q.refusals, 0) as refusals, q.failure_code, q.first_refused_at, q.last_refused_at,
      q.quarantined_at
    from devices d join credentials c on c.id = d.credential_id
    left join credential_refusals q on q.credential_id = c.id and q.version = c.current_version
      and q.device_id = d.id
    where d.credential_id = ${credentialId} and ${isVisible("d.site_id", scope)}
      ${state === undefined ? sql`` : sql`and q.device_id is not null`}
      ${state === "quarantined" ? sql`and q.quarantined_at is not null` : sql``}
      ${after === undefined ? sql`` : sql`and d.id > ${after}`}
    order by d.id limit ${limit}`.execute(db);
  return rows;
}

/** Ends the quarantine of the current version: it is suspect and may be tried. False when it is in none. */
export async function releaseVersion(
  tx: Transaction<Database>,
  credentialId: CredentialId,
): Promise<boolean> {
  const { numAffectedRows } = await sql`
    update credential_versions v set state = 'suspect', ramp = 1, refusing = '{}',
      state_since = clock_timestamp()
    from credentials c where c.id = ${credentialId} and v.credential_id = c.id
      and v.version = c.current_version and v.state = 'quarantined'`.execute(tx);
  return (numAffectedRows ?? 0n) > 0n;
}

/** Forgets the refusals of one device. False when it had none. */
export async function releaseDevice(
  tx: Transaction<Database>,
  use: { credentialId: CredentialId; deviceId: DeviceId },
): Promise<boolean> {
  const { numAffectedRows } = await sql`
    delete from credential_refusals q using credentials c
    where c.id = ${use.credentialId} and q.credential_id = c.id and q.version = c.current_version
      and q.device_id = ${use.deviceId}`.execute(tx);
  return (numAffectedRows ?? 0n) > 0n;
}

import { sql, type Transaction } from "kysely";
import type { CredentialState } from "@rookery/shared/api/credentials.ts";
import type { CredentialId, DeviceId, SiteId } from "@rookery/shared/ids.ts";
import { failureClass, type FailureCode } from "@rookery/shared/jobs/failure.ts";
import { systemActor, writeAudit } from "../audit/store.ts";
import type { Database } from "../database/schema.ts";
import { inForce } from "../settings/in_force.ts";
import { RAMP_END } from "./ramp.ts";

/** `last_success_at` is that exact: a trusted version is no row that every result writes. */
const SUCCESS_SECONDS = 60;

/** One session with a credential version on a device. */
export interface CredentialUse {
  readonly siteId: SiteId;
  readonly deviceId: DeviceId;
  /** Null: the lease is of a time when that was not recorded, or had no credential. */
  readonly credentialId: CredentialId | null;
  readonly credentialVersion: number | null;
  readonly grantedAt: Temporal.Instant;
}

/** What a session says about its credential; `neither` when it ended before the login or without one. */
export type LoginVerdict = { readonly accepted: true } | { readonly refused: FailureCode };

/** Failures that come after the login: the credential is good, whatever else is not. */
const AFTER_LOGIN: ReadonlySet<FailureCode> = new Set([
  "pager_stuck",
  "command_rejected",
  "command_failed",
  "configuration_truncated",
  "configuration_interleaved",
  "configuration_empty",
  "configuration_too_short",
  "configuration_hidden",
  "configuration_unstable",
  "configuration_too_large",
  "configuration_binary",
]);

/** Judges a failure; undefined when it says nothing about the credential. */
export function loginVerdict(code: FailureCode): LoginVerdict | undefined {
  if (failureClass(code) === "authentication") return { refused: code };
  return AFTER_LOGIN.has(code) ? { accepted: true } : undefined;
}

interface LockedVersion {
  readonly state: CredentialState;
  readonly ramp: number | null;
}

/**
 * Locks the version that a result clears or blames, if it changes at all. Call it before the lease is touched: the
 * lock order is agent_session, site, credential_version, lease. The first refusal of a version without a limit locks
 * every site that uses it: a claim holds its site from the look at the version to its commit, so that no claim grants on
 * a trust that is lost meanwhile.
 */
export async function lockUsedVersion(
  tx: Transaction<Database>,
  use: CredentialUse,
  verdict: LoginVerdict,
): Promise<LockedVersion | undefined> {
  const seen = await readVersion(tx, use);
  if (!seen) return undefined;
  if ("accepted" in verdict) {
    if (seen.isSettled) return undefined;
    // Only the time is to be renewed: whoever holds the row does it just now.
    return await lockVersion(tx, use, { skipLocked: seen.isTrusted });
  }
  if (seen.ramp === null) await lockSitesOf(tx, use);
  return await lockVersion(tx, use, { skipLocked: false });
}

async function readVersion(tx: Transaction<Database>, use: CredentialUse) {
  const { rows } = await sql<{ ramp: number | null; isTrusted: boolean; isSettled: boolean }>`
    select ramp, is_trusted, is_trusted and
      last_success_at > clock_timestamp() - make_interval(secs => ${SUCCESS_SECONDS}) as is_settled
    from (select v.ramp, v.last_success_at, v.state = 'trusted' and v.ramp is null and not exists (
        select 1 from credential_refusals r where r.credential_id = v.credential_id
          and r.version = v.version and r.device_id = ${use.deviceId}) as is_trusted
      from credential_versions v
      where v.credential_id = ${use.credentialId} and v.version = ${use.credentialVersion}) x`
    .execute(tx);
  return rows[0];
}

async function lockVersion(
  tx: Transaction<Database>,
  use: CredentialUse,
  { skipLocked }: { skipLocked: boolean },
): Promise<LockedVersion | undefined> {
  const { rows } = await sql<LockedVersion>`
    select state, ramp from credential_versions
    where credential_id = ${use.credentialId} and version = ${use.credentialVersion}
    for no key update ${skipLocked ? sql`skip locked` : sql``}`.execute(tx);
  return rows[0];
}

async function lockSitesOf(tx: Transaction<Database>, use: CredentialUse): Promise<void> {
  await sql`
    select 1 from sites where id in (
      select site_id from devices where credential_id = ${use.credentialId})
    order by id for no key update`.execute(tx);
}

/** Writes down what the session said, under the lock of `lockUsedVersion`; true when something was quarantined. */
export async function noteLogin(
  tx: Transaction<Database>,
  use: CredentialUse,
  verdict: LoginVerdict,
): Promise<boolean> {
  if ("accepted" in verdict) {
    await noteSuccess(tx, use);
    return false;
  }
  const before = await readState(tx, use);
  const after = await noteRefusal(tx, use);
  const isDeviceOut = await countRefusal(tx, use, verdict.refused);
  const isVersionOut = after === "quarantined" && before !== "quarantined";
  if (isVersionOut) await audit(tx, use, { action: "credential.quarantine" });
  if (isDeviceOut) await audit(tx, use, { action: "credential.quarantine_device" });
  return isVersionOut || isDeviceOut;
}

/** A session that began before the last refusal may have logged in before it, too: it clears nothing. */
async function noteSuccess(tx: Transaction<Database>, use: CredentialUse): Promise<void> {
  const { credentialId, credentialVersion, deviceId, grantedAt } = use;
  await sql`
    update credential_versions set state = 'trusted', refusing = '{}',
      state_since = case when state = 'trusted' then state_since else clock_timestamp() end,
      ramp = case when ramp * 2 <= ${RAMP_END}::int then ramp * 2 end,
      last_success_at = clock_timestamp()
    where credential_id = ${credentialId} and version = ${credentialVersion}
      and state <> 'quarantined'
      and (last_refused_at is null or last_refused_at < ${grantedAt}::timestamptz)`.execute(tx);
  await sql`
    delete from credential_refusals
    where credential_id = ${credentialId} and version = ${credentialVersion}
      and device_id = ${deviceId} and last_refused_at < ${grantedAt}::timestamptz`.execute(tx);
}

async function readState(tx: Transaction<Database>, use: CredentialUse) {
  const row = await tx.selectFrom("credentialVersions").select("state")
    .where("credentialId", "=", use.credentialId).where("version", "=", use.credentialVersion)
    .executeTakeFirst();
  return row?.state;
}

async function noteRefusal(tx: Transaction<Database>, use: CredentialUse) {
  const { rows } = await sql<{ state: CredentialState }>`
    with seen as (
      select v.state, case when ${use.deviceId}::uuid = any(v.refusing) then v.refusing
        else v.refusing || ${use.deviceId}::uuid end as refusing
      from credential_versions v
      where v.credential_id = ${use.credentialId} and v.version = ${use.credentialVersion}
    ), judged as (
      select refusing, case when state = 'quarantined'
          or cardinality(refusing) >= ${inForce("credentials.refusals_to_quarantine")}
        then 'quarantined' else 'suspect' end as state from seen
    )
    update credential_versions v set state = j.state, refusing = j.refusing, ramp = 1,
      state_since = case when v.state = j.state then v.state_since else clock_timestamp() end,
      last_refused_at = clock_timestamp()
    from judged j
    where v.credential_id = ${use.credentialId} and v.version = ${use.credentialVersion}
    returning v.state`.execute(tx);
  return rows[0]?.state;
}

/** True when this refusal was the one too many of the device. */
async function countRefusal(
  tx: Transaction<Database>,
  use: CredentialUse,
  code: FailureCode,
): Promise<boolean> {
  const most = inForce("credentials.device_refusals_to_quarantine");
  const { rows } = await sql<{ isOut: boolean }>`
    insert into credential_refusals as r (credential_id, version, device_id, refusals, failure_code,
      first_refused_at, last_refused_at, quarantined_at)
    select ${use.credentialId}, ${use.credentialVersion}, ${use.deviceId}, 1, ${code}, at, at,
      case when ${most} <= 1 then at end
    from (select clock_timestamp() as at) t
    on conflict (credential_id, version, device_id) do update set refusals = r.refusals + 1,
      failure_code = excluded.failure_code, last_refused_at = excluded.last_refused_at,
      quarantined_at = coalesce(r.quarantined_at,
        case when r.refusals + 1 >= ${most} then excluded.last_refused_at end)
    returning quarantined_at is not distinct from last_refused_at as is_out`.execute(tx);
  return rows[0]?.isOut ?? false;
}

/** For people a quarantine is a change of state that nobody of them made: it is the system's. */
async function audit(
  tx: Transaction<Database>,
  { credentialId, credentialVersion: version, deviceId, siteId }: CredentialUse,
  { action }: { action: string },
): Promise<void> {
  const target = { kind: "credential", id: credentialId ?? "" };
  const detail = { version, deviceId };
  await writeAudit(tx, { actor: systemActor("credentials"), action, target, siteId, detail });
}

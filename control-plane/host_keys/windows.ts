import { type Kysely, sql, type Transaction } from "kysely";
import type { DeviceId, HostKeyId, HostKeyWindowId, SiteId, UserId } from "@rookery/shared/ids.ts";
import type { HostKeySeen } from "@rookery/shared/jobs/backup_config.ts";
import { systemActor, writeAudit } from "../audit/store.ts";
import { newId } from "../database/new_id.ts";
import type { Database } from "../database/schema.ts";
import { isVisible, type Scope } from "../permissions/scope.ts";

/** A key that a device showed in a session. */
export interface Sighting {
  readonly siteId: SiteId;
  readonly deviceId: DeviceId;
  readonly grantedAt: Temporal.Instant;
  readonly hostKey: HostKeySeen;
}

/**
 * The window that accepts this key: open, over this device, opened before the session and not used for the device yet. A
 * key that somebody rejected is accepted by none.
 */
export async function findWindow(
  tx: Transaction<Database>,
  { siteId, deviceId, grantedAt, hostKey }: Sighting,
): Promise<HostKeyWindowId | undefined> {
  const { rows } = await sql<{ id: HostKeyWindowId }>`
    select w.id from host_key_windows w
    where w.site_id = ${siteId} and (w.device_id is null or w.device_id = ${deviceId})
      and w.closed_at is null and w.closes_at > clock_timestamp()
      and w.opened_at <= ${grantedAt}::timestamptz
      and not exists (select 1 from host_key_window_uses u
        where u.window_id = w.id and u.device_id = ${deviceId})
      and not exists (select 1 from host_keys k where k.device_id = ${deviceId}
        and k.fingerprint = ${hostKey.fingerprint} and k.state = 'rejected')
    order by w.device_id nulls last, w.closes_at limit 1`.execute(tx);
  return rows[0]?.id;
}

/** Makes the key the device's only pin and closes the window for it; false when another result was faster. */
export async function acceptInWindow(
  tx: Transaction<Database>,
  windowId: HostKeyWindowId,
  { siteId, deviceId, hostKey }: Sighting,
): Promise<boolean> {
  const id = newId<HostKeyId>();
  const { rows: [used] } = await sql`
    insert into host_key_window_uses (window_id, device_id, host_key_id)
    values (${windowId}, ${deviceId}, ${id}) on conflict do nothing returning 1`.execute(tx);
  if (!used) return false;
  await sql`
    update host_keys set state = 'rejected', decided_at = now()
    where device_id = ${deviceId} and state = 'accepted'`.execute(tx);
  await sql`
    insert into host_keys (id, site_id, device_id, key_type, fingerprint, state, source, decided_at)
    values (${id}, ${siteId}, ${deviceId}, ${hostKey.type}, ${hostKey.fingerprint}, 'accepted',
      'window', now())
    on conflict (device_id, fingerprint) do update set state = 'accepted', source = 'window',
      decided_at = now(), last_seen_at = now()`.execute(tx);
  const target = { kind: "device", id: deviceId };
  const detail = { windowId, fingerprint: hostKey.fingerprint };
  const entry = { action: "host_key.accept_in_window", target, siteId, detail };
  await writeAudit(tx, { ...entry, actor: systemActor("host keys") });
  return true;
}

export interface WindowRow {
  readonly id: HostKeyWindowId;
  readonly siteId: SiteId;
  readonly deviceId: DeviceId | null;
  readonly openedAt: Temporal.Instant;
  readonly closesAt: Temporal.Instant;
  readonly closedAt: Temporal.Instant | null;
  readonly used: number;
}

export async function selectWindows(
  db: Kysely<Database>,
  selection: {
    scope: Scope;
    limit: number;
    windowId?: HostKeyWindowId;
    siteId?: SiteId | undefined;
    after?: HostKeyWindowId | undefined;
  },
): Promise<WindowRow[]> {
  const { after, limit, scope, siteId, windowId } = selection;
  const { rows } = await sql<WindowRow>`
    select w.id, w.site_id, w.device_id, w.opened_at, w.closes_at, w.closed_at,
      (select count(*)::int from host_key_window_uses u where u.window_id = w.id) as used
    from host_key_windows w where ${isVisible("w.site_id", scope)}
      ${windowId === undefined ? sql`` : sql`and w.id = ${windowId}`}
      ${siteId === undefined ? sql`` : sql`and w.site_id = ${siteId}`}
      ${after === undefined ? sql`` : sql`and w.id > ${after}`}
    order by w.id limit ${limit}`.execute(db);
  return rows;
}

export async function insertWindow(
  tx: Transaction<Database>,
  window: { siteId: SiteId; deviceId: DeviceId | null; minutes: number; userId: UserId },
): Promise<HostKeyWindowId> {
  const id = newId<HostKeyWindowId>();
  await sql`
    insert into host_key_windows (id, site_id, device_id, closes_at, created_by)
    values (${id}, ${window.siteId}, ${window.deviceId},
      now() + make_interval(mins => ${window.minutes}), ${window.userId})`.execute(tx);
  return id;
}

/** False when it is over already. */
export async function closeWindow(
  tx: Transaction<Database>,
  windowId: HostKeyWindowId,
): Promise<boolean> {
  const { numAffectedRows } = await sql`
    update host_key_windows set closed_at = now()
    where id = ${windowId} and closed_at is null and closes_at > now()`.execute(tx);
  return (numAffectedRows ?? 0n) > 0n;
}

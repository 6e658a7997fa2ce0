import { sql, type Transaction } from "kysely";
import type { DeviceId, HostKeyId, SiteId } from "@rookery/shared/ids.ts";
import type { HostKeySeen } from "@rookery/shared/jobs/backup_config.ts";
import { systemActor, writeAudit } from "../audit/store.ts";
import { newId } from "../database/new_id.ts";
import type { Database } from "../database/schema.ts";

interface Sighting {
  readonly siteId: SiteId;
  readonly deviceId: DeviceId;
  readonly hostKey: HostKeySeen;
}

/**
 * Notes the key under which a backup succeeded: the first key of a device at a `first_use` site becomes its
 * pin, a known one was seen again. An agent cannot replace a pin this way.
 */
export async function noteAcceptedKey(
  tx: Transaction<Database>,
  { siteId, deviceId, hostKey }: Sighting,
): Promise<void> {
  await sql`
    insert into host_keys (id, site_id, device_id, key_type, fingerprint, state, source, decided_at)
    select ${newId<HostKeyId>()}, s.id, ${deviceId}, ${hostKey.type}, ${hostKey.fingerprint},
      'accepted', 'first_use', now()
    from sites s where s.id = ${siteId} and s.host_key_policy = 'first_use' and not exists (
      select 1 from host_keys k where k.device_id = ${deviceId} and k.state = 'accepted'
        and k.fingerprint <> ${hostKey.fingerprint})
    on conflict (device_id, fingerprint) do update set last_seen_at = now()`.execute(tx);
}

/**
 * Notes a key that was refused: it waits until somebody accepts or rejects it. One that was rejected is not asked about
 * again: that the device still shows it is an alarm.
 */
export async function noteRefusedKey(
  tx: Transaction<Database>,
  { siteId, deviceId, hostKey }: Sighting,
): Promise<void> {
  const { rows: [key] } = await sql<{ id: HostKeyId; state: string }>`
    insert into host_keys (id, site_id, device_id, key_type, fingerprint, state, source)
    values (${newId<HostKeyId>()}, ${siteId}, ${deviceId}, ${hostKey.type}, ${hostKey.fingerprint},
      'pending', 'reported')
    on conflict (device_id, fingerprint) do update set last_seen_at = now()
    returning id, state`.execute(tx);
  if (key?.state !== "rejected") return;
  await writeAudit(tx, {
    actor: systemActor("host keys"),
    action: "host_key.rejected_shown",
    target: { kind: "host_key", id: key.id },
    siteId,
    detail: { deviceId, fingerprint: hostKey.fingerprint },
  });
}

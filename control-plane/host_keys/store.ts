import { type Kysely, sql, type Transaction } from "kysely";
import type { DeviceId, HostKeyId, SiteId, UserId } from "@rookery/shared/ids.ts";
import type { Database } from "../database/schema.ts";
import { type Scope, whereVisible } from "../permissions/scope.ts";

export interface HostKeySelection {
  readonly scope: Scope;
  readonly limit: number;
  readonly hostKeyId?: HostKeyId;
  readonly siteId?: SiteId | undefined;
  readonly deviceId?: DeviceId | undefined;
  readonly state?: "accepted" | "pending" | "rejected" | undefined;
  readonly after?: HostKeyId | undefined;
}

export function selectHostKeys(db: Kysely<Database>, selection: HostKeySelection) {
  const { after, hostKeyId, siteId, deviceId, state, limit } = selection;
  const changed = sql<
    boolean
  >`exists (select 1 from host_keys o where o.device_id = host_keys.device_id
    and o.id <> host_keys.id and o.state = 'accepted')`;
  const keys = db.selectFrom("hostKeys").selectAll().select(changed.as("changed"));
  return whereVisible(keys, "hostKeys.siteId", selection.scope)
    .$if(siteId !== undefined, (query) => query.where("siteId", "=", siteId as SiteId))
    .$if(after !== undefined, (query) => query.where("id", ">", after as HostKeyId))
    .$if(hostKeyId !== undefined, (query) => query.where("id", "=", hostKeyId as HostKeyId))
    .$if(deviceId !== undefined, (query) => query.where("deviceId", "=", deviceId as DeviceId))
    .$if(state !== undefined, (query) => query.where("state", "=", state as "pending"))
    .orderBy("id").limit(limit).execute();
}

/** Makes a key the only pin of its device: what was accepted before is rejected from now on. */
export async function pinOnly(
  tx: Transaction<Database>,
  pin: { deviceId: DeviceId; hostKeyId: HostKeyId; userId: UserId },
): Promise<void> {
  await sql`
    update host_keys set state = case when id = ${pin.hostKeyId} then 'accepted' else 'rejected' end,
      decided_at = now(), decided_by = ${pin.userId}
    where device_id = ${pin.deviceId} and (id = ${pin.hostKeyId} or state = 'accepted')`.execute(
    tx,
  );
}

export async function reject(
  tx: Transaction<Database>,
  key: { hostKeyId: HostKeyId; userId: UserId },
): Promise<void> {
  await tx.updateTable("hostKeys").set({
    state: "rejected",
    decidedAt: sql<Temporal.Instant>`now()`,
    decidedBy: key.userId,
  }).where("id", "=", key.hostKeyId).execute();
}

/** Pins a key beside those that are pinned; one that was seen before is accepted. */
export async function upsertPin(
  tx: Transaction<Database>,
  pin: {
    id: HostKeyId;
    deviceId: DeviceId;
    keyType: string;
    fingerprint: string;
    userId: UserId;
  },
): Promise<HostKeyId> {
  const { rows: [row] } = await sql<{ id: HostKeyId }>`
    insert into host_keys (id, site_id, device_id, key_type, fingerprint, state, source,
      decided_at, decided_by)
    select ${pin.id}, site_id, id, ${pin.keyType}, ${pin.fingerprint}, 'accepted', 'administrator',
      now(), ${pin.userId}
    from devices where id = ${pin.deviceId}
    on conflict (device_id, fingerprint) do update set state = 'accepted', decided_at = now(),
      decided_by = excluded.decided_by
    returning id`.execute(tx);
  return row?.id ?? pin.id;
}

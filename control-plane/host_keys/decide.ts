import { type Kysely, sql, type Transaction } from "kysely";
import type { DeviceId, HostKeyId, SiteId, UserId } from "@rookery/shared/ids.ts";
import type { Database } from "../database/schema.ts";
import { isVisible, type Scope } from "../permissions/scope.ts";

/** A key that waits for a decision. */
export interface WaitingKey {
  readonly id: HostKeyId;
  readonly siteId: SiteId;
  readonly deviceId: DeviceId;
  readonly fingerprint: string;
}

/** Locks the waiting keys that are named, or all of a site; in the order of their ids, as everywhere. */
export async function lockWaiting(
  tx: Transaction<Database>,
  which: {
    scope: Scope;
    hostKeyIds?: readonly HostKeyId[] | undefined;
    siteId?: SiteId | undefined;
  },
): Promise<WaitingKey[]> {
  const { hostKeyIds, scope, siteId } = which;
  const { rows } = await sql<WaitingKey>`
    select k.id, k.site_id, k.device_id, k.fingerprint from host_keys k
    where k.state = 'pending' and ${isVisible("k.site_id", scope)}
      ${hostKeyIds === undefined ? sql`` : sql`and k.id = any(${[...hostKeyIds]}::uuid[])`}
      ${siteId === undefined ? sql`` : sql`and k.site_id = ${siteId}`}
    order by k.id for update`.execute(tx);
  return rows;
}

/** Accepts the keys in place of their devices' earlier pins, or rejects them. */
export async function decideKeys(
  tx: Transaction<Database>,
  { decision, keys, userId }: {
    decision: "accept" | "reject";
    keys: readonly WaitingKey[];
    userId: UserId;
  },
): Promise<void> {
  const ids = keys.map(({ id }) => id);
  if (decision === "accept") {
    const deviceIds = keys.map(({ deviceId }) => deviceId);
    await sql`
      update host_keys set state = 'rejected', decided_at = now(), decided_by = ${userId}
      where device_id = any(${deviceIds}::uuid[]) and state = 'accepted'`.execute(tx);
  }
  await sql`
    update host_keys set state = ${decision === "accept" ? "accepted" : "rejected"},
      decided_at = now(), decided_by = ${userId}
    where id = any(${ids}::uuid[])`.execute(tx);
}

/** Devices of which more than one key waits: nobody can tell for them which one a whole site's acceptance means. */
export function ambiguousOf(keys: readonly WaitingKey[]): DeviceId[] {
  const byDevice = Map.groupBy(keys, ({ deviceId }) => deviceId);
  return [...byDevice].filter(([, waiting]) => waiting.length > 1).map(([deviceId]) => deviceId);
}

/** Whether all ids are of keys that the caller may see. */
export async function countVisible(
  db: Kysely<Database>,
  { scope, hostKeyIds }: { scope: Scope; hostKeyIds: readonly HostKeyId[] },
): Promise<number> {
  const { rows } = await sql<{ n: number }>`
    select count(*)::int as n from host_keys k
    where k.id = any(${[...hostKeyIds]}::uuid[]) and ${isVisible("k.site_id", scope)}`.execute(db);
  return rows[0]?.n ?? 0;
}

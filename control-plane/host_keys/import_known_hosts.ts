import { setImmediate } from "node:timers/promises";
import { type Kysely, sql, type Transaction } from "kysely";
import type { KnownHostReport } from "@rookery/shared/api/host_keys.ts";
import type { DeviceId, HostKeyId, SiteId, UserId } from "@rookery/shared/ids.ts";
import { refusedField } from "@rookery/shared/problem.ts";
import { newId } from "../database/new_id.ts";
import type { Database } from "../database/schema.ts";
import { findHashed, hostName, type KnownHost, readKnownHosts } from "./known_hosts.ts";

/** Hashed hosts times devices: each pair costs an HMAC, and a second of them is enough for one request. */
const MOST_HASHES = 500_000;

type ReadableHost = Extract<KnownHost, { fingerprint: string }>;

/** A host of the file with the device that it is, if it is one. */
export interface MatchedHost {
  readonly host: KnownHost;
  readonly deviceId: DeviceId | null;
}

/** Finds the devices of a site that the file's hosts are. Refuses what would take too long. */
export async function matchHosts(
  db: Kysely<Database>,
  { siteId, text }: { siteId: SiteId; text: string },
): Promise<MatchedHost[]> {
  const rows = await db.selectFrom("devices").select(["id", "host", "port"])
    .where("siteId", "=", siteId).where("archivedAt", "is", null).execute();
  const devices = new Map(rows.map((row) => [hostName(row), row.id]));
  const hosts = readKnownHosts(text);
  const hashed = hosts.filter(({ host }) => host.startsWith("|")).length;
  if (hashed * devices.size > MOST_HASHES) {
    const detail = `its ${hashed} hashed hosts are too many for ${devices.size} devices: split it`;
    throw refusedField("#/text", detail);
  }
  const matched: MatchedHost[] = [];
  for (const host of hosts) {
    const name = findHashed(host.host, devices.keys());
    // Others are served between two lines.
    if (name !== undefined) await setImmediate();
    const found = name === undefined ? host.host.toLowerCase() : name;
    matched.push({ host, deviceId: (found === null ? undefined : devices.get(found)) ?? null });
  }
  return matched;
}

/** Pins what the file says of a device, and reports on every host of every line. */
export async function importHost(
  tx: Transaction<Database>,
  { host, deviceId }: MatchedHost,
  userId: UserId,
): Promise<KnownHostReport> {
  const base = { line: host.line, host: host.host.slice(0, 300), deviceId };
  if ("unreadable" in host) {
    return { ...base, keyType: "", status: "unreadable", detail: host.unreadable };
  }
  const { keyType } = host;
  if (deviceId === null) {
    const detail = "no device of the site in use has that address and port";
    return { ...base, keyType, status: "no_such_device", detail };
  }
  return { ...base, keyType, ...await writeKey(tx, { host, deviceId, userId }) };
}

async function writeKey(
  tx: Transaction<Database>,
  { host, deviceId, userId }: { host: ReadableHost; deviceId: DeviceId; userId: UserId },
): Promise<Pick<KnownHostReport, "status" | "detail">> {
  const known = await tx.selectFrom("hostKeys").select(["fingerprint", "keyType", "state"])
    .where("deviceId", "=", deviceId).execute();
  const same = known.find(({ fingerprint }) => fingerprint === host.fingerprint);
  if (!host.revoked) {
    if (same?.state === "accepted") return { status: "already_pinned", detail: "it is pinned" };
    if (same?.state === "rejected") {
      return { status: "conflict", detail: "the key was rejected; accept it by itself" };
    }
    if (known.some(({ keyType, state }) => state === "accepted" && keyType === host.keyType)) {
      return { status: "conflict", detail: "another key of that type is pinned; decide by itself" };
    }
  }
  const state = host.revoked ? "rejected" : "accepted";
  await sql`
    insert into host_keys (id, site_id, device_id, key_type, fingerprint, state, source, decided_at,
      decided_by)
    select ${newId<HostKeyId>()}, site_id, id, ${host.keyType}, ${host.fingerprint}, ${state},
      'known_hosts', now(), ${userId} from devices where id = ${deviceId}
    on conflict (device_id, fingerprint) do update set state = excluded.state, decided_at = now(),
      decided_by = excluded.decided_by`.execute(tx);
  return host.revoked
    ? { status: "revoked", detail: "the key is rejected from now on" }
    : { status: "imported", detail: "the key is pinned" };
}

import { type Insertable, type Kysely, sql, type Transaction, type Updateable } from "kysely";
import type { CredentialId, DeviceId, JobId, SiteId } from "@rookery/shared/ids.ts";
import type { Database, DevicesTable } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import { isVisible, type Scope, whereVisible } from "../permissions/scope.ts";
import { inForce } from "../settings/in_force.ts";
import { conditionsOf, type DeviceFilter } from "./device_filter.ts";
import { tagNames } from "./device_tags.ts";

export interface DeviceSelection extends DeviceFilter {
  readonly scope: Scope;
  readonly limit: number;
  readonly deviceId?: DeviceId;
}

/** The devices that fit, in the order of their ids. */
export async function selectDevices(db: Kysely<Database>, selection: DeviceSelection) {
  const { scope, deviceId, limit, ...filter } = selection;
  const conditions = await conditionsOf(db, filter);
  const devices = db.selectFrom("devices")
    .leftJoin("deviceStatus", "deviceStatus.deviceId", "devices.id")
    .leftJoin("deviceFacts", "deviceFacts.deviceId", "devices.id")
    .selectAll("devices").select(tagNames.as("tags"))
    .select(["deviceStatus.lastOutcome", "deviceStatus.lastVerifiedAt", "deviceStatus.unsaved"])
    .select(["deviceFacts.model", "deviceFacts.serialNumber", "deviceFacts.osVersion"]);
  const query = whereVisible(devices, "devices.siteId", scope)
    .$if(deviceId !== undefined, (some) => some.where("devices.id", "=", deviceId as DeviceId));
  return await conditions.reduce((some, condition) => some.where(condition), query)
    .orderBy("devices.id").limit(limit).execute();
}

/**
 * A page of a list that is filtered: planned for what it asks for, each time. A plan for any value would walk through all
 * devices to find the few of a rare one.
 */
export async function selectDevicePage(db: Kysely<Database>, selection: DeviceSelection) {
  return await inTransaction(db, async (tx) => {
    await sql`select set_config('plan_cache_mode', 'force_custom_plan', true)`.execute(tx);
    return await selectDevices(tx, selection);
  });
}

/** A device with the names of its tags and what its last backup came to. */
export type DeviceRow = Awaited<ReturnType<typeof selectDevices>>[number];

/** What is not given is as the settings say. */
export async function insertDevice(
  db: Kysely<Database>,
  device: Insertable<DevicesTable>,
): Promise<void> {
  await db.insertInto("devices").values({
    ...device,
    connectSeconds: device.connectSeconds ?? inForce("device_defaults.connect_seconds"),
    idleSeconds: device.idleSeconds ?? inForce("device_defaults.idle_seconds"),
    totalSeconds: device.totalSeconds ?? inForce("device_defaults.total_seconds"),
    maxBytes: device.maxBytes ?? inForce("device_defaults.max_bytes"),
  }).execute();
}

export async function updateDevice(
  db: Kysely<Database>,
  id: DeviceId,
  change: Updateable<DevicesTable>,
): Promise<void> {
  await db.updateTable("devices").set({ ...change, updatedAt: sql<Temporal.Instant>`now()` })
    .where("id", "=", id).execute();
}

/** A device may use the credentials of its own tenant only. */
export async function isCredentialUsable(
  db: Kysely<Database>,
  use: { scope: Scope; siteId: SiteId; credentialId: CredentialId },
): Promise<boolean> {
  const { rows } = await sql`
    select 1 from credentials c join sites s on s.tenant_id = c.tenant_id
    where c.id = ${use.credentialId} and s.id = ${use.siteId} and ${isVisible("s.id", use.scope)}`
    .execute(db);
  return rows.length > 0;
}

/** Whether two sites are of one tenant; undefined when the second is none. */
export async function isSameTenant(
  db: Kysely<Database>,
  { from, to }: { readonly from: SiteId; readonly to: SiteId },
): Promise<boolean | undefined> {
  const { rows: [row] } = await sql<{ isSame: boolean }>`
    select t.tenant_id = f.tenant_id as is_same from sites t, sites f
    where t.id = ${to} and f.id = ${from}`.execute(db);
  return row?.isSame;
}

/** The jobs of a device that have not ended. */
export async function selectOpenJobs(
  tx: Transaction<Database>,
  device: { siteId: SiteId; deviceId: DeviceId },
): Promise<JobId[]> {
  const rows = await tx.selectFrom("openJobs").select("jobId")
    .where("siteId", "=", device.siteId).where("deviceId", "=", device.deviceId).execute();
  return rows.map((row) => row.jobId);
}

/** Puts the waiting jobs of a device into the lane of its new credential; the site's queue is locked. */
export async function moveToLane(
  tx: Transaction<Database>,
  device: { siteId: SiteId; deviceId: DeviceId; credentialId: CredentialId | null },
): Promise<void> {
  await sql`
    update ready r set credential_id = ${device.credentialId} from open_jobs o
    where o.site_id = ${device.siteId} and o.device_id = ${device.deviceId}
      and r.site_id = o.site_id and r.job_id = o.job_id and r.logs_in`.execute(tx);
}

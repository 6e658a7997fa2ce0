import { type Insertable, type Kysely, sql, type Transaction, type Updateable } from "kysely";
import type { CredentialId, DeviceId, JobId, SiteId, TenantId } from "@rookery/shared/ids.ts";
import type { Database, DevicesTable } from "../database/schema.ts";
import { isVisible, type Scope, whereVisible } from "../permissions/scope.ts";
import { inForce } from "../settings/in_force.ts";
import { tagNames } from "./device_tags.ts";
import { hasTags } from "./tag_filter.ts";

export interface DeviceSelection {
  readonly scope: Scope;
  readonly limit: number;
  readonly deviceId?: DeviceId;
  readonly siteId?: SiteId | undefined;
  readonly tenantId?: TenantId;
  readonly platform?: string | undefined;
  /** A tag expression. */
  readonly tags?: string | undefined;
  /** Only archived ones, only those in use, or both. */
  readonly archived?: boolean;
  readonly after?: DeviceId | undefined;
}

export function selectDevices(db: Kysely<Database>, selection: DeviceSelection) {
  const { after, deviceId, siteId, tenantId, platform, tags, archived, limit } = selection;
  const devices = db.selectFrom("devices").selectAll().select(tagNames.as("tags"));
  return whereVisible(devices, "devices.siteId", selection.scope)
    .$if(after !== undefined, (query) => query.where("id", ">", after as DeviceId))
    .$if(deviceId !== undefined, (query) => query.where("id", "=", deviceId as DeviceId))
    .$if(siteId !== undefined, (query) => query.where("siteId", "=", siteId as SiteId))
    .$if(tenantId !== undefined, (query) => query.where("siteId", "in", sitesOf(db, tenantId)))
    .$if(platform !== undefined, (query) => query.where("platform", "=", platform as string))
    .$if(tags !== undefined, (query) => query.where(hasTags("devices.id", tags as string)))
    .$if(archived === true, (query) => query.where("archivedAt", "is not", null))
    .$if(archived === false, (query) => query.where("archivedAt", "is", null))
    .orderBy("id").limit(limit).execute();
}

function sitesOf(db: Kysely<Database>, tenantId: TenantId | undefined) {
  return db.selectFrom("sites").select("id").where("tenantId", "=", tenantId as TenantId);
}

/** A device with the names of its tags. */
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

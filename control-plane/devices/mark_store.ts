import { type Kysely, sql, type Transaction } from "kysely";
import type { DeviceMarkId, DeviceMarkKind } from "@rookery/shared/api/device_changes.ts";
import type { DeviceId, SiteId, UserId } from "@rookery/shared/ids.ts";
import { newId } from "../database/new_id.ts";
import type { Database } from "../database/schema.ts";
import { isVisible, type Scope } from "../permissions/scope.ts";

export interface MarkRow {
  readonly id: DeviceMarkId;
  readonly deviceId: DeviceId;
  readonly kind: DeviceMarkKind;
  readonly at: Temporal.Instant;
  readonly fromSiteId: SiteId | null;
  readonly serialNumber: string | null;
  readonly fingerprint: string | null;
}

/** The marks of a device that the caller sees, newest first; a site that they do not see is left out of them. */
export async function selectMarks(
  db: Kysely<Database>,
  { scope, deviceId, before, limit }: {
    readonly scope: Scope;
    readonly deviceId: DeviceId;
    readonly before?: DeviceMarkId | undefined;
    readonly limit: number;
  },
): Promise<MarkRow[]> {
  const { rows } = await sql<MarkRow>`
    select m.id, m.device_id, m.kind, m.at, m.serial_number, m.fingerprint,
      case when ${isVisible("m.from_site_id", scope)} then m.from_site_id end as from_site_id
    from device_marks m where m.device_id = ${deviceId}
      ${before === undefined ? sql`` : sql`and m.id < ${before}`}
    order by m.id desc limit ${limit}`.execute(db);
  return rows;
}

/** Marks a device, as of now. */
export async function insertMark(
  tx: Transaction<Database>,
  mark: {
    readonly deviceId: DeviceId;
    readonly kind: DeviceMarkKind;
    readonly markedBy: UserId;
    readonly fromSiteId?: SiteId;
    readonly serialNumber?: string;
    readonly fingerprint?: string;
  },
): Promise<DeviceMarkId> {
  const id = newId<DeviceMarkId>();
  await tx.insertInto("deviceMarks").values({ id, ...mark }).execute();
  return id;
}

/** A mark as the wire has it. */
export function markOf(row: MarkRow) {
  return { ...row, at: row.at.toString() };
}

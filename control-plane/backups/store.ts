import { type Kysely, type Selectable, sql, type Transaction } from "kysely";
import type { RevisionState } from "@rookery/shared/api/backups.ts";
import type { BackupId, DeviceId, RevisionId, Sha256, SiteId } from "@rookery/shared/ids.ts";
import type {
  BackupsTable,
  Database,
  DevicesTable,
  DeviceStatusTable,
} from "../database/schema.ts";
import { type Scope, whereVisible } from "../permissions/scope.ts";

/** What of a device the readers of its history need. */
export type VisibleDevice = Pick<
  Selectable<DevicesTable>,
  "id" | "siteId" | "name" | "host" | "port" | "platform"
>;

/** A device that the caller may see, archived or not. */
export async function selectVisibleDevice(
  db: Kysely<Database>,
  { scope, deviceId }: { readonly scope: Scope; readonly deviceId: DeviceId },
): Promise<VisibleDevice | undefined> {
  const query = db.selectFrom("devices")
    .select(["id", "siteId", "name", "host", "port", "platform"])
    .where("id", "=", deviceId);
  return await whereVisible(query, "devices.siteId", scope).executeTakeFirst();
}

/** What a device is called now, whoever asks: for somebody who may see one of its revisions. */
export async function selectDeviceName(
  db: Kysely<Database>,
  { deviceId }: { readonly deviceId: DeviceId },
): Promise<string> {
  const { name } = await db.selectFrom("devices").select("name").where("id", "=", deviceId)
    .executeTakeFirstOrThrow();
  return name;
}

/** Which revisions, newest first; `before` is the last one of the page before. */
export interface RevisionSelection {
  readonly scope: Scope;
  readonly limit: number;
  readonly before?: RevisionId | undefined;
  readonly ids?: readonly RevisionId[];
  readonly siteId?: SiteId | undefined;
  readonly deviceId?: DeviceId | undefined;
  readonly capture?: string | undefined;
  readonly state?: RevisionState | undefined;
  readonly pinned?: boolean | undefined;
}

export type RevisionRow = Awaited<ReturnType<typeof selectRevisions>>[number];

/** What is known of revisions. */
export async function selectRevisions(db: Kysely<Database>, selection: RevisionSelection) {
  const { before, ids, siteId, deviceId, capture, state, pinned } = selection;
  let query = whereVisible(selectRevision(db), "revisions.siteId", selection.scope);
  if (before !== undefined) query = query.where("id", "<", before);
  if (ids !== undefined) query = query.where("id", "in", [...ids]);
  if (siteId !== undefined) query = query.where("siteId", "=", siteId);
  if (deviceId !== undefined) query = query.where("deviceId", "=", deviceId);
  if (capture !== undefined) query = query.where("capture", "=", capture);
  if (state !== undefined) query = query.where("state", "=", state);
  if (pinned !== undefined) query = query.where("pinned", "=", pinned);
  return await query.orderBy("id", "desc").limit(selection.limit).execute();
}

function selectRevision(db: Kysely<Database>) {
  return db.selectFrom("revisions")
    .select(["id", "siteId", "deviceId", "capture", "platform", "number", "state", "grade"])
    .select(["bytes", "lines", "backupId", "firstSeenAt", "lastSeenAt", "decidedAt"])
    .select(["pinned", "comment"])
    .select([
      sql<Sha256>`raw_sha256`.as("sha256"),
      sql<boolean>`exists (select from current_texts t where t.revision_id = revisions.id)`
        .as("current"),
      sql<number>`(select count(*)::int + 1 from device_marks m
        where m.device_id = revisions.device_id and m.kind = 'replaced'
          and m.at <= revisions.first_seen_at)`.as("hardware"),
    ]);
}

/** Locks a revision that the caller may see: what is read of it after is what a change will find. */
export async function lockRevision(
  tx: Transaction<Database>,
  { scope, revisionId }: { readonly scope: Scope; readonly revisionId: RevisionId },
): Promise<void> {
  const query = tx.selectFrom("revisions").select("id").where("id", "=", revisionId);
  await whereVisible(query, "revisions.siteId", scope).forUpdate().execute();
}

/** Changes what people say of a revision; one that the caller may not see is left alone. */
export async function updateRevision(
  tx: Transaction<Database>,
  { scope, revisionId, change }: {
    readonly scope: Scope;
    readonly revisionId: RevisionId;
    readonly change: { readonly pinned?: boolean; readonly comment?: string };
  },
): Promise<void> {
  if (Object.keys(change).length === 0) return;
  const query = tx.updateTable("revisions").set(change).where("id", "=", revisionId);
  await whereVisible(query, "revisions.siteId", scope).execute();
}

/** The accepted revision of the same capture that came before this one. */
export async function selectPreviousRevision(
  db: Kysely<Database>,
  { deviceId, capture, number }: Pick<RevisionRow, "deviceId" | "capture" | "number">,
): Promise<RevisionRow | undefined> {
  return await selectRevision(db)
    .where("deviceId", "=", deviceId).where("capture", "=", capture)
    .where("number", "<", number).where("state", "=", "accepted")
    .orderBy("number", "desc").limit(1).executeTakeFirst();
}

/** The revision that a device was seen with last. */
export async function selectCurrentRevision(
  db: Kysely<Database>,
  { scope, deviceId, capture }: {
    readonly scope: Scope;
    readonly deviceId: DeviceId;
    readonly capture: string;
  },
): Promise<RevisionRow | undefined> {
  const query = selectRevision(db).where(
    "id",
    "=",
    (current) =>
      current.selectFrom("currentTexts").select("revisionId")
        .where("deviceId", "=", deviceId).where("capture", "=", capture),
  );
  return await whereVisible(query, "revisions.siteId", scope).executeTakeFirst();
}

/** The attempts on a device, newest first. */
export async function selectBackups(
  db: Kysely<Database>,
  { siteId, deviceId, before, limit }: {
    readonly siteId: SiteId;
    readonly deviceId: DeviceId;
    readonly before?: BackupId | undefined;
    readonly limit: number;
  },
): Promise<Selectable<BackupsTable>[]> {
  let query = db.selectFrom("backups").selectAll()
    .where("siteId", "=", siteId).where("deviceId", "=", deviceId);
  if (before !== undefined) query = query.where("id", "<", before);
  return await query.orderBy("id", "desc").limit(limit).execute();
}

/** The status of a device, which it has from the start; undefined when the device is gone. */
export async function selectDeviceStatus(
  db: Kysely<Database>,
  deviceId: DeviceId,
): Promise<Selectable<DeviceStatusTable> | undefined> {
  return await db.selectFrom("deviceStatus").selectAll().where("deviceId", "=", deviceId)
    .executeTakeFirst();
}

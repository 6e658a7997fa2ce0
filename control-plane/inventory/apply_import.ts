/** The task `apply_import`: makes and changes devices as the preview said, and leaves those that something came between. */
import { sql, type Transaction } from "kysely";
import { ImportedFields } from "@rookery/shared/api/imports.ts";
import type { CredentialId, DeviceId, ImportId, SiteId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { writeAudits } from "../audit/store.ts";
import { newId } from "../database/new_id.ts";
import type { Database } from "../database/schema.ts";
import { inForce } from "../settings/in_force.ts";
import type { TaskWork } from "../tasks/kinds.ts";
import { applyTagRules } from "../devices/tag_rule_store.ts";
import { changeDevice } from "./change_device.ts";
import {
  countRows,
  ImportCursor,
  lockQueues,
  noteOutcomes,
  type RowEnd,
  tryRow,
} from "./import_cursor.ts";
import type { ImportRowRow } from "./import_store.ts";
import { makeCredentials } from "./seal_logins.ts";

/** New ones are made by one statement, changed ones one by one: either way a batch stays below a second. */
const BATCH = 100;

export const applyImport: TaskWork = {
  count: (db, _context, { cursor }) => countRows(db, ImportCursor.parse(cursor), "apply"),
  async runBatch(tx, _context, options) {
    const cursor = ImportCursor.parse(options.cursor);
    const rows = await readBatch(tx, cursor);
    const last = rows.at(-1);
    if (!last) return { state: "completed", done: 0 };
    const { importId, actor } = cursor;
    await lockQueues(tx, rows.filter(({ action }) => action === "change"));
    await makeCredentials(tx, { importId, ids: credentialsOf(rows), actor });
    const made = await createDevices(tx, importId, rows);
    const ends = [];
    for (const row of rows) {
      ends.push(row.action === "create" ? endOfNew(row, made) : await changeOne(tx, row));
    }
    await noteOutcomes(tx, importId, ends);
    await auditBatch(tx, { cursor, rows, ends });
    return { state: "more", cursor: { ...cursor, at: last.number }, done: rows.length };
  },
};

function readBatch(tx: Transaction<Database>, { importId, at }: ImportCursor) {
  return tx.selectFrom("importRows").selectAll().where("importId", "=", importId)
    .where("number", ">", at).where("outcome", "is", null)
    .where("action", "in", ["create", "change"]).orderBy("number").limit(BATCH).execute();
}

function credentialsOf(rows: readonly ImportRowRow[]): CredentialId[] {
  const ids = rows.map(({ after }) => ImportedFields.parse(after).credentialId);
  return [...new Set(ids.filter((id) => id !== undefined && id !== null))];
}

/** Makes the new devices of a batch, but for those whose name or address was taken meanwhile; the ids of those made. */
async function createDevices(
  tx: Transaction<Database>,
  importId: ImportId,
  rows: readonly ImportRowRow[],
): Promise<ReadonlySet<DeviceId>> {
  const numbers = rows.filter(({ action }) => action === "create").map(({ number }) => number);
  if (numbers.length === 0) return new Set();
  const { rows: made } = await sql<{ id: DeviceId }>`
    insert into devices (id, site_id, name, host, port, platform, credential_id, connect_seconds,
      idle_seconds, total_seconds, max_bytes)
    select r.device_id, r.site_id, n.name, n.host, n.port, n.platform, c.id,
      ${inForce("device_defaults.connect_seconds")}, ${inForce("device_defaults.idle_seconds")},
      ${inForce("device_defaults.total_seconds")}, ${inForce("device_defaults.max_bytes")}
    from import_rows r
      join sites s on s.id = r.site_id
      cross join jsonb_to_record(r.after) as n(name text, host text, port integer, platform text,
        "credentialId" uuid)
      left join credentials c on c.id = n."credentialId" and c.tenant_id = s.tenant_id
    where r.import_id = ${importId} and r.number = any(${numbers}::integer[])
      and (n."credentialId" is null or c.id is not null)
    order by r.number
    on conflict do nothing returning id`.execute(tx);
  const ids = made.map(({ id }) => id);
  await tagNewDevices(tx, importId, ids);
  await applyTagRules(tx, { deviceIds: ids });
  return new Set(ids);
}

/** Gives new devices the tags of their rows, and makes those that their tenants lack. */
async function tagNewDevices(
  tx: Transaction<Database>,
  importId: ImportId,
  ids: readonly DeviceId[],
): Promise<void> {
  const wanted = sql`
    select r.device_id, s.tenant_id, t.name from import_rows r join sites s on s.id = r.site_id
    cross join jsonb_array_elements_text(r.after -> 'tags') as t(name)
    where r.import_id = ${importId} and r.device_id = any(${ids}::uuid[])`;
  const { rows: missing } = await sql<{ tenantId: string; name: string }>`
    select distinct on (w.tenant_id, lower(w.name)) w.tenant_id, w.name from (${wanted}) w
    where not exists (
      select 1 from tags t where t.tenant_id = w.tenant_id and lower(t.name) = lower(w.name))
    order by w.tenant_id, lower(w.name)`.execute(tx);
  // In one order, so that two that make the same tags never wait for each other in a circle.
  for (const { tenantId, name } of missing) {
    await sql`
      insert into tags (id, tenant_id, name) values (${newId()}, ${tenantId}, ${name})
      on conflict do nothing`.execute(tx);
  }
  await sql`
    insert into device_tags (device_id, tag_id)
    select w.device_id, t.id from (${wanted}) w
      join tags t on t.tenant_id = w.tenant_id and lower(t.name) = lower(w.name)
    on conflict do nothing`.execute(tx);
}

function endOfNew({ number, deviceId }: ImportRowRow, made: ReadonlySet<DeviceId>): RowEnd {
  if (deviceId !== null && made.has(deviceId)) return { number, outcome: "applied", detail: null };
  const detail = "its name or address was taken, or its site or credential was deleted, meanwhile";
  return { number, outcome: "left", detail };
}

async function changeOne(tx: Transaction<Database>, row: ImportRowRow): Promise<RowEnd> {
  const { number, siteId, deviceId } = row;
  const error = await tryRow(tx, () =>
    changeDevice(tx, {
      siteId: siteId as SiteId,
      deviceId: deviceId as DeviceId,
      expected: ImportedFields.parse(row.before),
      change: ImportedFields.parse(row.after),
    }));
  if (error === undefined) return { number, outcome: "applied", detail: null };
  if (!(error instanceof ProblemError)) throw error;
  return { number, outcome: "left", detail: error.message };
}

async function auditBatch(
  tx: Transaction<Database>,
  { cursor: { actor, importId }, rows, ends }: {
    readonly cursor: ImportCursor;
    readonly rows: readonly ImportRowRow[];
    readonly ends: readonly RowEnd[];
  },
): Promise<void> {
  const applied = rows.filter((_, index) => ends[index]?.outcome === "applied");
  await writeAudits(
    tx,
    applied.map(({ action, siteId, deviceId, before, after }) => ({
      actor,
      action: action === "create" ? "device.create" : "device.update",
      target: { kind: "device", id: String(deviceId) },
      siteId,
      detail: action === "create"
        ? { ...ImportedFields.parse(after), importId }
        : { before, after, importId },
    })),
  );
}

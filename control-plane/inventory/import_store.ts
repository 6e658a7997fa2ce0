import { type Insertable, type Kysely, sql, type Transaction } from "kysely";
import type { ImportAction, ImportOutcome, ImportSource } from "@rookery/shared/api/imports.ts";
import type { TaskState } from "@rookery/shared/api/tasks.ts";
import type { ImportId, TaskId, TenantId, UserId } from "@rookery/shared/ids.ts";
import type { Database, ImportsTable } from "../database/schema.ts";
import { areVisible, type Scope } from "../permissions/scope.ts";
import type { PlannedRow } from "./plan_rows.ts";
import type { NewCredential } from "./seal_logins.ts";

/** A preview that nobody applied holds addresses that nobody asked to keep. */
const PREVIEW_HOURS = 24;
/** How long there is a way back. */
const KEPT_DAYS = 30;

export async function insertImport(
  tx: Transaction<Database>,
  values: Omit<Insertable<ImportsTable>, "siteIds">,
  rows: readonly PlannedRow[],
): Promise<void> {
  const siteIds = [...new Set(rows.map(({ siteId }) => siteId).filter((id) => id !== null))];
  // A list would be sent as an array of PostgreSQL, which is no JSON.
  const newCredentials = sql`${JSON.stringify(values.newCredentials ?? [])}::text::jsonb`;
  await tx.insertInto("imports").values({ ...values, siteIds, newCredentials }).execute();
  await sql`
    insert into import_rows (import_id, number, site_id, device_id, name, host, action, before,
      after, errors)
    select ${values.id}, r.number, r."siteId", r."deviceId", r.name, r.host, r.action, r.before,
      r.after, r.errors
    from jsonb_to_recordset(${JSON.stringify(rows)}::text::jsonb) as r(number integer,
      "siteId" uuid, "deviceId" uuid, name text, host text, action text, before jsonb, after jsonb,
      errors jsonb)`.execute(tx);
}

/** Forgets previews that were not applied, and imports that are too old to be taken back. */
export async function deleteOldImports(db: Kysely<Database>): Promise<void> {
  await sql`
    delete from imports
    where created_at < now() - ${PREVIEW_HOURS} * interval '1 hour'
      and (apply_task_id is null or created_at < now() - ${KEPT_DAYS} * interval '1 day')`
    .execute(db);
}

export interface ImportSelection {
  readonly scope: Scope;
  readonly userId: UserId;
  readonly limit: number;
  readonly importId?: ImportId;
  readonly before?: ImportId | undefined;
}

/** An import with the states of its two tasks. */
export interface ImportListing {
  readonly id: ImportId;
  readonly tenantId: TenantId;
  readonly format: ImportSource;
  readonly ignoredColumns: string[];
  readonly newCredentials: NewCredential[];
  readonly brake: string | null;
  readonly createdAt: Temporal.Instant;
  readonly applyTaskId: TaskId | null;
  readonly undoTaskId: TaskId | null;
  readonly applyState: TaskState | null;
  readonly undoState: TaskState | null;
  readonly actions: Partial<Record<ImportAction, number>> | null;
  readonly outcomes: Partial<Record<ImportOutcome, number>> | null;
}

/**
 * Imports, newest first: of all people for who sees all sites, else one's own, as long as each of its sites is seen. With
 * rows of no site alone it is its maker's.
 */
export async function selectImports(
  db: Kysely<Database>,
  { scope, userId, limit, importId, before }: ImportSelection,
): Promise<ImportListing[]> {
  const { rows } = await sql<ImportListing>`
    select i.id, i.tenant_id, i.format, i.ignored_columns, i.new_credentials, i.brake, i.created_at, i.apply_task_id,
      i.undo_task_id, a.state as apply_state, u.state as undo_state, ${
    countBy("action")
  } as actions,
      ${countBy("outcome")} as outcomes
    from imports i left join tasks a on a.id = i.apply_task_id
      left join tasks u on u.id = i.undo_task_id
    where ${areVisible("i.site_ids", scope)} and (${scope.all} or i.created_by = ${userId})
      and (${importId ?? null}::uuid is null or i.id = ${importId ?? null})
      and (${before ?? null}::uuid is null or i.id < ${before ?? null})
    order by i.id desc limit ${limit}`.execute(db);
  return rows;
}

function countBy(column: "action" | "outcome") {
  const name = sql.ref(column);
  return sql`(select jsonb_object_agg(${name}, n) from (
    select ${name}, count(*)::int as n from import_rows
    where import_id = i.id and ${name} is not null group by 1) counted)`;
}

/** Keeps two orders for one import from being taken at once. */
export async function lockImport(tx: Transaction<Database>, id: ImportId): Promise<void> {
  await sql`select 1 from imports where id = ${id} for update`.execute(tx);
}

export async function noteTask(
  tx: Transaction<Database>,
  id: ImportId,
  task: { readonly applyTaskId: TaskId } | { readonly undoTaskId: TaskId },
): Promise<void> {
  await tx.updateTable("imports").set(task).where("id", "=", id).execute();
}

export interface RowSelection {
  readonly importId: ImportId;
  readonly limit: number;
  readonly after?: number | undefined;
  readonly action?: readonly ImportAction[] | undefined;
  readonly outcome?: readonly ImportOutcome[] | undefined;
}

/** The rows of an import that the caller was found to see. */
export function selectImportRows(db: Kysely<Database>, selection: RowSelection) {
  const { importId, limit, after = 0, action, outcome } = selection;
  return db.selectFrom("importRows").selectAll().where("importId", "=", importId)
    .where("number", ">", after)
    .$if(action !== undefined, (query) => query.where("action", "in", action ?? []))
    .$if(outcome !== undefined, (query) => query.where("outcome", "in", outcome ?? []))
    .orderBy("number").limit(limit).execute();
}

export type ImportRowRow = Awaited<ReturnType<typeof selectImportRows>>[number];

import { type Kysely, type Selectable, sql } from "kysely";
import { AUDIT_COLUMNS, type AuditFilter, AuditRow } from "@rookery/shared/api/audit.ts";
import type { AuditRowsTable, Database } from "../database/schema.ts";
import { writeCsv } from "../inventory/csv.ts";
import { type Scope, whereVisible } from "../permissions/scope.ts";
import { rowMatches } from "./row_filter.ts";

const PAGE = 500;

export interface AuditExport extends AuditFilter {
  readonly scope: Scope;
}

type Row = Selectable<AuditRowsTable>;
type Pages = AsyncGenerator<readonly AuditRow[]>;

/** Rows as lines of JSON; a page is read for each piece that is taken. */
export function streamLines(db: Kysely<Database>, order: AuditExport) {
  return streamText(readPages(db, order), {
    head: "",
    write: (rows) => rows.map((row) => `${JSON.stringify(row)}\n`).join(""),
  });
}

/** Rows as CSV. */
export function streamTable(db: Kysely<Database>, order: AuditExport) {
  return streamText(readPages(db, order), {
    head: writeCsv([AUDIT_COLUMNS]),
    write: (rows) => writeCsv(rows.map((row) => AUDIT_COLUMNS.map((name) => cellOf(row[name])))),
  });
}

/** A row of the database as callers see it. */
export function auditRowOf(row: Row): AuditRow {
  return AuditRow.parse({ ...row, at: row.at.toString() });
}

function cellOf(value: unknown): string {
  if (value === null) return "";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

interface Form {
  readonly head: string;
  readonly write: (rows: readonly AuditRow[]) => string;
}

function streamText(pages: Pages, form: Form): ReadableStream<Uint8Array<ArrayBuffer>> {
  return ReadableStream.from(writeText(pages, form));
}

async function* writeText(
  pages: Pages,
  { head, write }: Form,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const encoder = new TextEncoder();
  if (head !== "") yield encoder.encode(head);
  for await (const rows of pages) {
    if (rows.length > 0) yield encoder.encode(write(rows));
  }
}

/** Pages in the order of commits, up to the place behind which an open transaction may still put a row. */
async function* readPages(db: Kysely<Database>, order: AuditExport): Pages {
  const { rows: [edge] } = await sql<Edge>`
    select incarnation, pg_snapshot_xmin(pg_current_snapshot())::text as xid from installation`
    .execute(db);
  if (!edge) return;
  let after: Row | undefined;
  do {
    const rows: readonly Row[] = await readPage(db, order, { edge, after });
    yield rows.map(auditRowOf);
    after = rows.length === PAGE ? rows.at(-1) : undefined;
  } while (after);
}

interface Edge {
  readonly incarnation: number;
  readonly xid: string;
}

function readPage(
  db: Kysely<Database>,
  { scope, ...filter }: AuditExport,
  { edge, after }: { readonly edge: Edge; readonly after: Row | undefined },
): Promise<Row[]> {
  return whereVisible(db.selectFrom("auditRows").selectAll(), "siteId", scope)
    .where(rowMatches(filter))
    .where(sql<boolean>`(incarnation, xid) < (${edge.incarnation}::int, ${edge.xid}::xid8)`)
    .$if(after !== undefined, (query) =>
      query.where(
        sql<boolean>`(incarnation, xid, id)
          > (${after?.incarnation}::int, ${after?.xid}::xid8, ${after?.id}::uuid)`,
      ))
    .orderBy("incarnation").orderBy("xid").orderBy("id").limit(PAGE).execute();
}

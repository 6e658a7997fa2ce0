import type { Kysely } from "kysely";
import { z } from "zod";
import { listAuditRows } from "@rookery/shared/api/audit.ts";
import type { Database } from "../database/schema.ts";
import type { App } from "../http/app_type.ts";
import { pageOf, readCursor } from "../http/page.ts";
import { route } from "../http/route.ts";
import { selectAuditRows } from "./store.ts";

/** A transaction id is a number of 64 bits: every one of 19 digits is, and no installation gets further. */
const Position = z.tuple([z.string().regex(/^\d{1,19}$/), z.uuid()]);

/** The audit log. */
export function mountAudit(app: App, { db }: { readonly db: Kysely<Database> }): void {
  route(app, listAuditRows, async ({ query }, { scope }) => {
    const { limit, cursor, ...filter } = query;
    const [xid, id] = readCursor(cursor, Position) ?? [];
    const before = xid !== undefined && id !== undefined ? { xid, id } : undefined;
    const rows = await selectAuditRows(db, { ...filter, scope, before, limit: limit + 1 });
    return pageOf(rows, limit, {
      item: (row) => ({ ...row, at: row.at.toString(), detail: row.detail as AuditDetail }),
      position: (row) => [row.xid, row.id],
    });
  });
}

type AuditDetail = Record<string, unknown>;

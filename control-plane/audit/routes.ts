import type { Kysely } from "kysely";
import { z } from "zod";
import {
  exportAuditLines,
  exportAuditTable,
  getAuditHead,
  listAuditRows,
  orderAuditVerification,
} from "@rookery/shared/api/audit.ts";
import { Instant } from "@rookery/shared/ids.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import type { App } from "../http/app_type.ts";
import { pageOf, readCursor } from "../http/page.ts";
import { route } from "../http/route.ts";
import { refusePart } from "../permissions/refuse_part.ts";
import { taskOf } from "../tasks/replies.ts";
import { insertTask, selectTasks } from "../tasks/store.ts";
import { auditRowOf, streamLines, streamTable } from "./export_rows.ts";
import { readHead } from "./segment_store.ts";
import { actorOf, selectAuditRows, writeAudit } from "./store.ts";

const Place = z.tuple([Instant, z.uuid()]);
const ALL = "Segments are of all sites: this needs a role for all.";

/** The audit log. */
export function mountAudit(app: App, { db }: { readonly db: Kysely<Database> }): void {
  route(app, listAuditRows, async ({ query }, { scope }) => {
    const { limit, cursor, ...filter } = query;
    const [at, id] = readCursor(cursor, Place) ?? [];
    const before = at !== undefined && id !== undefined ? { at, id } : undefined;
    const rows = await selectAuditRows(db, { ...filter, scope, before, limit: limit + 1 });
    return pageOf(rows, limit, {
      item: auditRowOf,
      position: (row) => [row.at.toString(), row.id],
    });
  });

  route(app, exportAuditLines, ({ query }, { scope, setHeader }) => {
    setHeader("Content-Disposition", 'attachment; filename="audit.ndjson"');
    return streamLines(db, { ...query, scope });
  });

  route(app, exportAuditTable, ({ query }, { scope, setHeader }) => {
    setHeader("Content-Disposition", 'attachment; filename="audit.csv"');
    return streamTable(db, { ...query, scope });
  });

  mountSegments(app, { db });
}

/** The seals are about the whole log, so whoever sees some sites only may neither read nor check them. */
function mountSegments(app: App, { db }: { readonly db: Kysely<Database> }): void {
  route(app, getAuditHead, async (_input, { scope }) => {
    refusePart(scope, ALL);
    return { head: await readHead(db) ?? null };
  });

  route(app, orderAuditVerification, async ({ body: { head = null } }, context) => {
    refusePart(context.scope, ALL);
    const actor = actorOf(context);
    const taskId = await inTransaction(db, async (tx) => {
      const kind = "verify_audit" as const;
      const id = await insertTask(tx, { kind, requestedBy: actor.name, cursor: { head } });
      const target = { kind: "task", id };
      await writeAudit(tx, { actor, action: "audit.verify", target });
      return id;
    });
    const [task] = await selectTasks(db, { taskId, limit: 1 });
    if (!task) throw new Error("Cannot find the task that was ordered");
    return taskOf(task);
  });
}

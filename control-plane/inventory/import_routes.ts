import type { Kysely } from "kysely";
import { z } from "zod";
import {
  applyImport,
  getImport,
  listImportRows,
  listImports,
  previewImport,
  previewNetbox,
  undoImport,
} from "@rookery/shared/api/imports.ts";
import { ImportId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { actorOf, writeAudit } from "../audit/store.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import type { App } from "../http/app_type.ts";
import type { UserCaller } from "../http/caller.ts";
import { pageOf, readCursor } from "../http/page.ts";
import { route, type RouteContext } from "../http/route.ts";
import { refusePart } from "../permissions/refuse_part.ts";
import type { Scope } from "../permissions/scope.ts";
import { insertTask } from "../tasks/store.ts";
import { importOf, importRowOf, stateOf } from "./import_replies.ts";
import * as store from "./import_store.ts";
import { type ImportServices, planImport } from "./plan_import.ts";
import { planSync } from "./plan_sync.ts";

/** Files of devices: looked at first, then applied, and taken back if need be. */
export function mountImports(app: App, services: ImportServices): void {
  const { db } = services;

  route(app, previewImport, async ({ body }, { caller, scope }) => {
    const importId = await planImport(services, { ...body, caller, scope });
    return importOf(await readImport(db, { caller, scope, importId }));
  });

  route(app, previewNetbox, async ({ body }, { caller, scope, signal }) => {
    refusePart(scope, "NetBox is asked by who may change the devices of all sites.");
    const importId = await planSync(services, { ...body, caller, scope, signal });
    return importOf(await readImport(db, { caller, scope, importId }));
  });

  route(app, listImports, async ({ query: { limit, cursor } }, { scope, caller }) => {
    const before = readCursor(cursor, ImportId);
    const { userId } = caller;
    const rows = await store.selectImports(db, { scope, userId, before, limit: limit + 1 });
    return pageOf(rows, limit, { item: importOf, position: (row) => row.id });
  });

  route(app, getImport, async ({ params }, context) => {
    return importOf(await readImport(db, { ...context, ...params }));
  });

  route(app, listImportRows, async ({ params, query }, context) => {
    const { limit, cursor, ...filter } = query;
    const { id: importId } = await readImport(db, { ...context, ...params });
    const after = readCursor(cursor, z.int().min(0).max(2 ** 31 - 1));
    const selection = { ...filter, importId, after, limit: limit + 1 };
    const rows = await store.selectImportRows(db, selection);
    return pageOf(rows, limit, { item: importRowOf, position: (row) => row.number });
  });

  route(app, applyImport, async ({ params }, context) => {
    return importOf(await orderWork(db, { ...context, ...params, kind: "apply_import" }));
  });

  route(app, undoImport, async ({ params }, context) => {
    return importOf(await orderWork(db, { ...context, ...params, kind: "undo_import" }));
  });
}

interface Asked {
  readonly caller: UserCaller;
  readonly scope: Scope;
  readonly importId: ImportId;
}

async function readImport(db: Kysely<Database>, { caller, scope, importId }: Asked) {
  const { userId } = caller;
  const [row] = await store.selectImports(db, { scope, userId, importId, limit: 1 });
  if (!row) throw new ProblemError("not-found", "There is no such import.");
  return row;
}

interface Order extends Asked, Pick<RouteContext, "address" | "requestId"> {
  readonly kind: "apply_import" | "undo_import";
}

/** Orders the task. From here on it may do what it was told, whatever becomes of the caller's permissions. */
async function orderWork(db: Kysely<Database>, order: Order): Promise<store.ImportListing> {
  const { importId, kind } = order;
  const actor = actorOf(order);
  await readImport(db, order);
  await inTransaction(db, async (tx) => {
    await store.lockImport(tx, importId);
    const found = await readImport(tx, order);
    refuseState(found, kind);
    const cursor = { importId, at: 0, actor };
    const taskId = await insertTask(tx, { kind, requestedBy: actor.name, cursor });
    const isUndo = kind === "undo_import";
    await store.noteTask(tx, importId, isUndo ? { undoTaskId: taskId } : { applyTaskId: taskId });
    const entry = { action: isUndo ? "import.undo" : "import.apply", actor };
    const target = { kind: "import", id: importId };
    await writeAudit(tx, { ...entry, target, detail: { taskId, actions: found.actions } });
  });
  return await readImport(db, order);
}

function refuseState(row: store.ImportListing, kind: Order["kind"]): void {
  const state = stateOf(row);
  if (kind === "apply_import" && row.brake !== null) throw new ProblemError("conflict", row.brake);
  const isFresh = state === "stopped" && row.undoTaskId === null;
  const allowed = kind === "apply_import"
    ? state === "previewed" || isFresh
    : state === "applied" || state === "stopped";
  if (allowed) return;
  throw new ProblemError(
    "conflict",
    `The import is ${state} already.`.replace(
      "previewed already",
      "previewed only: nothing was done that could be undone",
    ),
  );
}

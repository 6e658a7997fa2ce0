import type { Kysely } from "kysely";
import {
  getDeviceStatus,
  getRevision,
  listBackups,
  listRevisions,
  readRevisionText,
} from "@rookery/shared/api/backups.ts";
import { BackupId, RevisionId } from "@rookery/shared/ids.ts";
import type { Database } from "../database/schema.ts";
import type { App } from "../http/app_type.ts";
import { pageOf, readCursor } from "../http/page.ts";
import { route } from "../http/route.ts";
import { mountChecks } from "./check_routes.ts";
import { mountDiffs } from "./diff_routes.ts";
import { mountExports } from "./export_routes.ts";
import { nameReply } from "./name_reply.ts";
import { mountPins } from "./pin_routes.ts";
import { readDevice, readRevision } from "./read_visible.ts";
import { renderText, type TextServices } from "./render_text.ts";
import { backupOf, revisionOf, statusOf } from "./replies.ts";
import { mountRetention } from "./retention_routes.ts";
import { mountSecrets } from "./secret_routes.ts";
import { selectBackups, selectDeviceStatus, selectRevisions } from "./store.ts";

export interface BackupsContext extends TextServices {
  readonly db: Kysely<Database>;
}

/** What was backed up: status, attempts, revisions, texts, differences. */
export function mountBackups(app: App, context: BackupsContext): void {
  mountLists(app, context);
  mountRevisions(app, context);
  mountSecrets(app, context);
  mountPins(app, context);
  mountDiffs(app, context);
  mountExports(app, context);
  mountChecks(app, context);
  mountRetention(app, context);
}

function mountLists(app: App, { db }: BackupsContext): void {
  route(app, getDeviceStatus, async ({ params }, { scope }) => {
    const { id: deviceId, siteId } = await readDevice(db, { scope, ...params });
    return statusOf({ deviceId, siteId }, await selectDeviceStatus(db, deviceId));
  });

  route(app, listBackups, async ({ params, query: { limit, cursor } }, { scope }) => {
    const { id: deviceId, siteId } = await readDevice(db, { scope, ...params });
    const before = readCursor(cursor, BackupId);
    const rows = await selectBackups(db, { siteId, deviceId, before, limit: limit + 1 });
    return pageOf(rows, limit, { item: backupOf, position: (row) => row.id });
  });

  route(app, listRevisions, async ({ params, query }, { scope }) => {
    const { limit, cursor, ...filter } = query;
    const { id: deviceId } = await readDevice(db, { scope, ...params });
    const before = readCursor(cursor, RevisionId);
    const selection = { ...filter, scope, deviceId, before, limit: limit + 1 };
    const rows = await selectRevisions(db, selection);
    return pageOf(rows, limit, { item: revisionOf, position: (row) => row.id });
  });
}

function mountRevisions(app: App, { db, ...services }: BackupsContext): void {
  route(app, getRevision, async ({ params: { revisionId } }, { scope }) => {
    return revisionOf(await readRevision(db, { scope, revisionId }));
  });

  route(app, readRevisionText, async ({ params: { revisionId } }, context) => {
    const revision = await readRevision(db, { scope: context.scope, revisionId });
    await nameReply(db, { context, revision, as: "inline", suffix: ".masked.cfg" });
    return await renderText(db, { ...services, ...revision, rawSha256: revision.sha256 });
  });
}

import type { Kysely } from "kysely";
import { listDeviceViewers, listSiteViewers, type Viewer } from "@rookery/shared/api/viewers.ts";
import { type SiteId, UserId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import type { Database } from "../database/schema.ts";
import type { App } from "../http/app_type.ts";
import { pageOf, readCursor } from "../http/page.ts";
import { route } from "../http/route.ts";
import { grantsOf } from "./grants.ts";
import { reachesSite } from "./scope.ts";
import { findSiteOfDevice, isSite, selectViewers, type ViewerRow } from "./viewer_store.ts";

interface ViewerPage {
  readonly limit: number;
  readonly cursor?: string | undefined;
}

/** Who can see this? Whoever sees users sees all of them, wherever they are: so this shows no more of sites than ids. */
export function mountViewers(app: App, { db }: { readonly db: Kysely<Database> }): void {
  route(app, listSiteViewers, async ({ params: { siteId }, query }) => {
    if (await isSite(db, siteId)) return await readViewers(db, siteId, query);
    throw new ProblemError("not-found", "There is no such site.");
  });

  route(app, listDeviceViewers, async ({ params: { deviceId }, query }) => {
    const siteId = await findSiteOfDevice(db, deviceId);
    if (siteId !== undefined) return await readViewers(db, siteId, query);
    throw new ProblemError("not-found", "There is no such device.");
  });
}

async function readViewers(db: Kysely<Database>, siteId: SiteId, { limit, cursor }: ViewerPage) {
  const after = readCursor(cursor, UserId);
  const rows = await selectViewers(db, { siteId, after, limit: limit + 1 });
  return pageOf(rows, limit, {
    item: (row) => viewerOf(row, siteId),
    position: (row) => row.userId,
  });
}

function viewerOf({ rules, ...row }: ViewerRow, siteId: SiteId): Viewer {
  const grants = [...grantsOf({ ...row, rules })];
  const permissions = grants.filter(([, scope]) => reachesSite(scope, siteId)).map(([name]) =>
    name
  );
  return { ...row, permissions };
}

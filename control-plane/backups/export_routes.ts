import type { Kysely } from "kysely";
import { exportConfigurations } from "@rookery/shared/api/backups.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { type Actor, actorOf, writeAudit } from "../audit/store.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import type { App } from "../http/app_type.ts";
import { route } from "../http/route.ts";
import { exportedFiles } from "./export_configurations.ts";
import { type ChosenConfiguration, selectChosen } from "./export_store.ts";
import type { BackupsContext } from "./routes.ts";
import { streamZip } from "./stream_zip.ts";

/** Many configurations at once, to be kept elsewhere. */
export function mountExports(app: App, { db, ...services }: BackupsContext): void {
  route(app, exportConfigurations, async ({ body: { capture, ...body } }, context) => {
    const { scope, setHeader } = context;
    const deviceIds = [...new Set(body.deviceIds)];
    const chosen = await selectChosen(db, { scope, deviceIds, capture });
    if (new Set(chosen.map(({ deviceId }) => deviceId)).size < deviceIds.length) {
      throw new ProblemError("not-found", "There is no such device among them.");
    }
    await noteExport(db, { actor: actorOf(context), chosen, capture });
    setHeader("content-disposition", 'attachment; filename="configurations.zip"');
    return streamZip(exportedFiles(db, { ...services, chosen }));
  });
}

/** A row for each site, so that whoever audits one site sees what left it; written before a byte leaves. */
async function noteExport(
  db: Kysely<Database>,
  { actor, chosen, capture }: {
    readonly actor: Actor;
    readonly chosen: readonly ChosenConfiguration[];
    readonly capture: string | undefined;
  },
): Promise<void> {
  const action = "configurations.export";
  const sites = Map.groupBy(chosen, ({ siteId }) => siteId);
  await inTransaction(db, async (tx) => {
    for (const [siteId, ofSite] of sites) {
      const deviceIds = [...new Set(ofSite.map(({ deviceId }) => deviceId))];
      const detail = { deviceIds, ...capture !== undefined && { capture } };
      await writeAudit(tx, { actor, action, target: { kind: "site", id: siteId }, siteId, detail });
    }
  });
}

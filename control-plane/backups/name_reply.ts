import type { Kysely } from "kysely";
import type { Database } from "../database/schema.ts";
import type { RouteContext } from "../http/route.ts";
import { fileNameOf } from "./revision_names.ts";
import { type RevisionRow, selectDeviceName } from "./store.ts";

/** What a browser calls the file that it makes of a reply. */
export async function nameReply(
  db: Kysely<Database>,
  { context, revision, as, suffix }: {
    readonly context: Pick<RouteContext, "setHeader">;
    readonly revision: RevisionRow;
    readonly as: "inline" | "attachment";
    readonly suffix: string;
  },
): Promise<void> {
  const device = await selectDeviceName(db, revision);
  const name = `${fileNameOf({ device, revision })}${suffix}`;
  context.setHeader("content-disposition", `${as}; filename="${name}"`);
}

import { updateRevision } from "@rookery/shared/api/backups.ts";
import { changedFields, given } from "../audit/changed_fields.ts";
import { actorOf, writeAudit } from "../audit/store.ts";
import { inTransaction } from "../database/transaction.ts";
import type { App } from "../http/app_type.ts";
import { route } from "../http/route.ts";
import { readRevision } from "./read_visible.ts";
import { revisionOf } from "./replies.ts";
import type { BackupsContext } from "./routes.ts";
import * as store from "./store.ts";

/** What people say of a revision: that it stays, and why. */
export function mountPins(app: App, { db }: Pick<BackupsContext, "db">): void {
  route(app, updateRevision, async ({ params: { revisionId }, body }, context) => {
    const of = { scope: context.scope, revisionId };
    return await inTransaction(db, async (tx) => {
      await store.lockRevision(tx, of);
      const before = revisionOf(await readRevision(tx, of));
      await store.updateRevision(tx, { ...of, change: given(body) });
      const { siteId, deviceId, capture, number } = before;
      await writeAudit(tx, {
        actor: actorOf(context),
        action: "revision.update",
        target: { kind: "revision", id: revisionId },
        siteId,
        detail: { deviceId, capture, number, ...changedFields(before, body) },
      });
      return revisionOf(await readRevision(tx, of));
    });
  });
}

import type { Kysely } from "kysely";
import { getQueue, updateQueue } from "@rookery/shared/api/queue.ts";
import { changedFields, given } from "../audit/changed_fields.ts";
import { actorOf, writeAudit } from "../audit/store.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import type { App } from "../http/app_type.ts";
import { route } from "../http/route.ts";
import type { Wakeups } from "../jobs/wakeups.ts";
import { refusePart } from "../permissions/refuse_part.ts";
import * as store from "./store.ts";

/** The queue as a whole: maintenance, and how much it may hold. */
export function mountQueue(
  app: App,
  { db, wakeups }: { readonly db: Kysely<Database>; readonly wakeups: Wakeups },
): void {
  route(app, getQueue, (_input, { scope }) => store.readQueue(db, scope));

  route(app, updateQueue, async ({ body }, context) => {
    const { scope } = context;
    refusePart(scope, "The queue as a whole belongs to who sees all sites.");
    const before = await store.readQueue(db, scope);
    await inTransaction(db, async (tx) => {
      await store.updateInstallation(tx, given(body));
      const detail = changedFields(before, body);
      await writeAudit(tx, { actor: actorOf(context), action: "queue.update", detail });
    });
    wakeups.notifyAll();
    return await store.readQueue(db, scope);
  });
}

import { type Kysely, sql, type Transaction, type Updateable } from "kysely";
import type { Queue } from "@rookery/shared/api/queue.ts";
import type { Database, InstallationTable } from "../database/schema.ts";
import { isVisible, type Scope } from "../permissions/scope.ts";

export async function readQueue(db: Kysely<Database>, scope: Scope): Promise<Queue> {
  const { rows: [queue] } = await sql<Queue>`
    select maintenance, max_queued,
      (select count(*)::int from open_jobs o where ${isVisible("o.site_id", scope)}) as open,
      (select count(*)::int from leases l where ${isVisible("l.site_id", scope)}) as leased
    from installation`.execute(db);
  if (!queue) throw new Error("Cannot read the queue: the installation has no row");
  return queue;
}

export async function updateInstallation(
  tx: Transaction<Database>,
  change: Updateable<InstallationTable>,
): Promise<void> {
  if (Object.keys(change).length === 0) return;
  await tx.updateTable("installation").set(change).execute();
}

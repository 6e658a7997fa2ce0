import { sql, type Transaction } from "kysely";
import type { SiteId } from "@rookery/shared/ids.ts";
import type { Database } from "../database/schema.ts";

/** Holds a site's queue still: nothing is enqueued or granted there until the transaction ends. */
export async function lockQueue(tx: Transaction<Database>, siteId: SiteId): Promise<void> {
  await sql`select 1 from sites where id = ${siteId} for no key update`.execute(tx);
}

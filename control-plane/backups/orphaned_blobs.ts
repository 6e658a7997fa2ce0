/**
 * Contents that no revision refers to any more. They are marked first and deleted a week after, so that whatever is under
 * way while they are marked has long ended: a result that was examined and is about to be recorded, an upload whose report
 * is yet to come, or waits in the spool of an agent. Whoever uploads the same content again takes the mark away
 * (`putBlob`), and a revision that refers to it keeps it, marked or not.
 */
import { sql, type Transaction } from "kysely";
import type { Database } from "../database/schema.ts";
import type { BlobName } from "./blob_seal.ts";

const KEPT_DAYS = 7;

/** What became of a piece of the table of contents. */
export interface SweptBlobs {
  /** The last one that was looked at; undefined when there was none. */
  readonly last: BlobName | undefined;
  readonly looked: number;
  readonly deleted: number;
}

/** Marks, unmarks and deletes among the next contents after a place. */
export async function sweepBlobs(
  tx: Transaction<Database>,
  { after, limit }: { readonly after: BlobName | null; readonly limit: number },
): Promise<SweptBlobs> {
  const names = await readNames(tx, { after, limit });
  const last = names.at(-1);
  if (!last) return { last, looked: 0, deleted: 0 };
  const range = sql`(b.site_id, b.sha256) > (${after?.siteId ?? LEAST}::uuid, ${
    after?.sha256 ?? ""
  })
    and (b.site_id, b.sha256) <= (${last.siteId}::uuid, ${last.sha256})`;
  const used = sql`exists (select from revisions r
    where r.site_id = b.site_id and r.raw_sha256 = b.sha256)`;
  const deleted = await sql`
    delete from blobs b where ${range} and not ${used}
      and b.orphaned_at < now() - make_interval(days => ${KEPT_DAYS})`.execute(tx);
  await sql`
    update blobs b set orphaned_at = case when ${used} then null else clock_timestamp() end
    where ${range} and (b.orphaned_at is not null) = ${used}`.execute(tx);
  return { last, looked: names.length, deleted: Number(deleted.numAffectedRows ?? 0) };
}

const LEAST = "00000000-0000-0000-0000-000000000000";

async function readNames(
  tx: Transaction<Database>,
  { after, limit }: { readonly after: BlobName | null; readonly limit: number },
): Promise<readonly BlobName[]> {
  const { rows } = await sql<BlobName>`
    select site_id as "siteId", sha256 from blobs
    where (site_id, sha256) > (${after?.siteId ?? LEAST}::uuid, ${after?.sha256 ?? ""})
    order by site_id, sha256 limit ${limit}`.execute(tx);
  return rows;
}

/**
 * The task `check_configurations`: every stored configuration is opened, unpacked and held against its digest. Nothing is
 * changed; what cannot be read is named in the task's log, for a person to act before it is needed.
 */
import { type Kysely, sql, type Transaction } from "kysely";
import { z } from "zod";
import { Sha256, SiteId } from "@rookery/shared/ids.ts";
import type { Database } from "../database/schema.ts";
import { SealError } from "../keys/envelope.ts";
import { assertNewestKeys } from "../keys/newest_keys.ts";
import type { Batch, TaskContext, TaskWork } from "../tasks/kinds.ts";
import type { BlobName } from "./blob_seal.ts";
import { readBlob } from "./blob_store.ts";

const CHUNK = 50;
/** One configuration, of at most some megabytes, may come on top: a batch stays below a second. */
const BATCH_MS = 400;
/** Damage that is all over needs no list. */
const MOST_NAMED = 1_000;

/** The last one that was looked at, and how many could not be read so far. */
const Cursor = z.strictObject({
  after: z.strictObject({ siteId: SiteId, sha256: Sha256 }),
  damaged: z.int().min(0),
});
type Cursor = z.infer<typeof Cursor>;

export const checkConfigurations: TaskWork = {
  async count(db) {
    const { rows: [row] } = await sql<{ count: string }>`
      select count(*) as count from blobs`.execute(db);
    return Number(row?.count ?? 0);
  },
  async runBatch(tx, context, options) {
    await assertNewestKeys(tx, context);
    const until = performance.now() + BATCH_MS;
    const cursor = options.cursor === null ? undefined : Cursor.parse(options.cursor);
    const names = await readChunk(tx, cursor?.after);
    let damaged = cursor?.damaged ?? 0;
    let done = 0;
    let last: BlobName | undefined;
    const found: string[] = [];
    for (const name of names) {
      const trouble = await troubleWith(tx, context, name);
      if (trouble && damaged++ < MOST_NAMED) found.push(await describe(tx, name, trouble));
      last = name;
      done++;
      if (performance.now() > until) break;
    }
    if (!last) return ended(damaged);
    return { state: "more", cursor: { after: last, damaged }, done, found };
  },
};

function ended(damaged: number): Batch {
  if (damaged === 0) return { state: "completed", done: 0 };
  const which = damaged === 1 ? "1 stored configuration" : `${damaged} stored configurations`;
  const error = `${which} cannot be read: see this task's log, and restore the database's blobs ` +
    "from a backup; a device that still has the configuration is only backed up anew.";
  return { state: "failed", done: 0, error };
}

/** What revisions need, also where nothing is stored under that name any more. */
async function readChunk(
  tx: Transaction<Database>,
  after: BlobName | undefined,
): Promise<readonly BlobName[]> {
  return await tx.selectFrom("revisions").distinct()
    .select(["siteId", "rawSha256 as sha256"])
    .$if(after !== undefined, (query) =>
      query.where(
        sql<boolean>`(site_id, raw_sha256) > (${after?.siteId}::uuid, ${after?.sha256}::text)`,
      ))
    .orderBy("siteId").orderBy("rawSha256").limit(CHUNK)
    .$castTo<BlobName>().execute();
}

/** Why a configuration cannot be read; undefined when it can. */
async function troubleWith(
  db: Kysely<Database>,
  { keyRing }: TaskContext,
  name: BlobName,
): Promise<string | undefined> {
  try {
    const bytes = await readBlob(db, { keyRing, ...name });
    return bytes ? undefined : "it is missing";
  } catch (error) {
    // The database's own errors are none of the configuration's: the batch is tried again.
    if (error instanceof SealError) return "it is altered, or its key is lost";
    throw error;
  }
}

/** Whose it is, by the newest revision that has it. */
async function describe(
  db: Kysely<Database>,
  { siteId, sha256 }: BlobName,
  trouble: string,
): Promise<string> {
  const { rows: [newest] } = await sql<
    { site: string; device: string; capture: string; number: number; others: number }
  >`
    select s.name as site, d.name as device, r.capture, r.number,
      (count(*) over () - 1)::int as others
    from revisions r join devices d on d.id = r.device_id join sites s on s.id = r.site_id
    where r.site_id = ${siteId} and r.raw_sha256 = ${sha256} order by r.id desc limit 1`
    .execute(db);
  if (!newest) return `${sha256}: ${trouble}`;
  const { site, device, capture, number, others } = newest;
  const more = others > 0 ? ` and ${others} more with the same content` : "";
  return `${device} at ${site}, ${capture} revision ${number}${more}: ${trouble}`;
}

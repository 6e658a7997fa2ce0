/** The search of all revisions, newest first: each is opened and redacted for it, since only current texts are kept redacted. */
import { type Kysely, sql } from "kysely";
import type { RevisionId, Sha256 } from "@rookery/shared/ids.ts";
import type { TextServices } from "../backups/render_text.ts";
import { tryRender } from "../backups/try_render.ts";
import type { Database } from "../database/schema.ts";
import { type Excerpt, excerptOf } from "./excerpt.ts";
import { type Deadline, inTime, isOver } from "./in_time.ts";
import type { Found, SearchedText } from "./search_current.ts";
import { isChosen, type SearchOrder } from "./search_order.ts";

/** Revisions that are opened before they are looked through together. */
const CHUNK = 20;
/** What is left then for looking through those that were opened. */
const LOOK_MS = 500;

export interface HistoryOrder extends SearchOrder, TextServices {
  /** The last one that was looked through. */
  readonly before: RevisionId | undefined;
}

type RevisionToSearch = Omit<SearchedText, "hits" | "lines"> & { readonly rawSha256: Sha256 };

export async function searchHistory(
  db: Kysely<Database>,
  order: HistoryOrder,
  deadline: Deadline,
): Promise<Found<RevisionId> & { readonly unreadable: boolean }> {
  const rows: SearchedText[] = [];
  let before = order.before;
  let unreadable = false;
  while (true) {
    const chunk = await readChunk(db, { ...order, before }, deadline);
    // Who got no further would get no further again.
    const next = before === order.before ? undefined : before;
    if (!chunk) return { rows, next, timedOut: true, unreadable };
    unreadable ||= chunk.unreadable;
    for (const row of chunk.rows) {
      if (row.hits === 0) continue;
      if (rows.length === order.limit) {
        return { rows, next: rows.at(-1)?.revisionId, timedOut: false, unreadable };
      }
      rows.push(row);
    }
    before = chunk.last ?? before;
    if (chunk.isLast) return { rows, next: undefined, timedOut: false, unreadable };
  }
}

interface Chunk {
  readonly rows: readonly SearchedText[];
  /** The last one that was looked at. */
  readonly last: RevisionId | undefined;
  readonly isLast: boolean;
  readonly unreadable: boolean;
}

/** Undefined when nothing was looked through by the deadline. */
async function readChunk(
  db: Kysely<Database>,
  order: HistoryOrder,
  deadline: Deadline,
): Promise<Chunk | undefined> {
  const revisions = await inTime(db, deadline, (tx) => selectRevisions(tx, order));
  if (!revisions) return undefined;
  const opened: OpenedRevision[] = [];
  for (const revision of revisions) {
    if (isOver({ until: deadline.until - LOOK_MS })) break;
    opened.push({ revision, text: await tryRender(db, { ...order, ...revision }) });
  }
  if (opened.length === 0 && revisions.length > 0) return undefined;
  const rows = await inTime(db, deadline, (tx) => lookThrough(tx, order, opened));
  return rows && {
    rows,
    last: opened.at(-1)?.revision.revisionId,
    isLast: opened.length < CHUNK && opened.length === revisions.length,
    unreadable: opened.some(({ text }) => text === undefined),
  };
}

async function selectRevisions(
  db: Kysely<Database>,
  order: HistoryOrder,
): Promise<RevisionToSearch[]> {
  const { before } = order;
  const { rows } = await sql<RevisionToSearch>`
    select t.site_id as "siteId", s.name as site, t.device_id as "deviceId", d.name as device,
      t.platform, t.capture, t.id as "revisionId", t.number, t.last_seen_at as "lastSeenAt",
      t.raw_sha256 as "rawSha256"
    from revisions t join devices d on d.id = t.device_id join sites s on s.id = t.site_id
    where ${isChosen(order)} ${before ? sql`and t.id < ${before}::uuid` : sql``}
    order by t.id desc limit ${CHUNK}`.execute(db);
  return rows;
}

interface OpenedRevision {
  readonly revision: RevisionToSearch;
  /** Undefined when it cannot be read. */
  readonly text: string | undefined;
}

async function lookThrough(
  db: Kysely<Database>,
  order: HistoryOrder,
  opened: readonly OpenedRevision[],
): Promise<SearchedText[]> {
  const { rows } = await sql<Excerpt>`
    select x.hits, x.lines
    from unnest(${opened.map(({ text = "" }) => text)}::text[]) with ordinality as c(text, place)
    cross join lateral ${excerptOf("c.text", order)} x order by c.place`.execute(db);
  return opened.flatMap(({ revision }, at) => {
    const excerpt = rows[at];
    return excerpt ? [{ ...revision, ...excerpt }] : [];
  });
}

/**
 * The search of current texts. The distinct lines of all of them are looked through first, which are a tenth of their lines;
 * then only texts that have one of those are read. What waits to be indexed is read as well, so a new text is found
 * as soon as it is stored.
 */
import { type Kysely, type RawBuilder, sql } from "kysely";
import { z } from "zod";
import { DeviceId, type RevisionId, type SiteId } from "@rookery/shared/ids.ts";
import { REDACTION_RULES } from "../backups/redaction_rules.ts";
import type { Database } from "../database/schema.ts";
import { type Excerpt, excerptOf } from "./excerpt.ts";
import { type Deadline, inTime, isOver } from "./in_time.ts";
import { isChosen, matches, type SearchOrder, type Sought } from "./search_order.ts";

/** Where in the order of current texts. */
export const TextPosition = z.tuple([DeviceId, z.string().max(40)]);
export type TextPosition = z.infer<typeof TextPosition>;

/** A text that was looked through. */
export interface SearchedText extends Excerpt {
  readonly siteId: SiteId;
  readonly site: string;
  readonly deviceId: DeviceId;
  readonly device: string;
  readonly platform: string;
  readonly capture: string;
  readonly revisionId: RevisionId;
  readonly number: number;
  readonly lastSeenAt: Temporal.Instant;
}

/** What was found, and where to go on; `timedOut`: there was more to look through. */
export interface Found<Position> {
  readonly rows: readonly SearchedText[];
  readonly next: Position | undefined;
  readonly timedOut: boolean;
}

/** What stands in more lines than this is met soon enough by reading one text after the other. */
const MOST_LINES = 20_000;
/** Texts that one statement reads: some milliseconds each at worst, unless they are very long. */
const CHUNK = 50;

export async function searchCurrent(
  db: Kysely<Database>,
  order: SearchOrder & { readonly after: TextPosition | undefined },
  deadline: Deadline,
): Promise<Found<TextPosition>> {
  const lineIds = await findLines(db, order, deadline);
  const rows: SearchedText[] = [];
  let after = order.after;
  while (true) {
    const missing = order.limit + 1 - rows.length;
    const limit = lineIds ? Math.min(missing, CHUNK) : CHUNK;
    const chunk = isOver(deadline)
      ? undefined
      : await inTime(db, deadline, (tx) => readTexts(tx, { ...order, after, lineIds, limit }));
    // Who got no further would get no further again.
    if (!chunk) return { rows, next: after === order.after ? undefined : after, timedOut: true };
    rows.push(...chunk.filter(({ hits }) => hits > 0));
    if (rows.length > order.limit) {
      const shown = rows.slice(0, order.limit);
      return { rows: shown, next: positionOf(shown.at(-1)), timedOut: false };
    }
    after = positionOf(chunk.at(-1)) ?? after;
    if (chunk.length < limit) return { rows, next: undefined, timedOut: false };
  }
}

function positionOf(row: SearchedText | undefined): TextPosition | undefined {
  return row && [row.deviceId, row.capture];
}

/** The lines that are what is looked for; undefined when they are too many, or not found in time. */
async function findLines(
  db: Kysely<Database>,
  sought: Sought,
  deadline: Deadline,
): Promise<readonly string[] | undefined> {
  const rows = await inTime(db, deadline, async (tx) => {
    const { rows } = await sql<{ id: string }>`
      select id from search_lines where ${matches("line", sought)} limit ${MOST_LINES + 1}`
      .execute(tx);
    return rows;
  });
  return rows && rows.length <= MOST_LINES ? rows.map(({ id }) => id) : undefined;
}

interface TextsToRead extends SearchOrder {
  readonly after: TextPosition | undefined;
  readonly lineIds: readonly string[] | undefined;
}

/** The next texts, with what of them is to be shown. */
async function readTexts(db: Kysely<Database>, order: TextsToRead): Promise<SearchedText[]> {
  const { after, lineIds, limit } = order;
  const { rows } = await sql<SearchedText>`
    select c.site_id as "siteId", c.site, c.device_id as "deviceId", c.device, c.platform, c.capture,
      c.revision_id as "revisionId", c.number, c.last_seen_at as "lastSeenAt", x.hits, x.lines
    from (
      select d.site_id, s.name as site, t.device_id, d.name as device, r.platform, t.capture,
        t.revision_id, r.number, r.last_seen_at, t.text
      from current_texts t
      join devices d on d.id = t.device_id
      join sites s on s.id = d.site_id
      join revisions r on r.id = t.revision_id
      where ${isChosen(order)} and t.redacted_by = any(${[...REDACTION_RULES]}::text[])
        ${
    after ? sql`and (t.device_id, t.capture) > (${after[0]}::uuid, ${after[1]}::text)` : sql``
  }
        ${lineIds ? sql`and (t.device_id, t.capture) in (${candidates(lineIds)})` : sql``}
      order by t.device_id, t.capture limit ${limit}
    ) c cross join lateral ${excerptOf("c.text", order)} x
    order by c.device_id, c.capture`.execute(db);
  return rows;
}

/** Texts that have such a line, or of which the index does not know. */
function candidates(lineIds: readonly string[]): RawBuilder<unknown> {
  return sql`
    select device_id, capture from search_texts where line_ids && ${[...lineIds]}::bigint[]
    union select device_id, capture from search_texts where line_ids is null
    union select device_id, capture from current_texts where not searchable`;
}

/** Whether something that the caller has asked for waits to be redacted by today's rules, and was left out. */
export async function someAreHeldBack(
  db: Kysely<Database>,
  order: SearchOrder,
): Promise<boolean> {
  const { rows } = await sql`
    select from current_texts t join devices d on d.id = t.device_id
    where not t.searchable
      and (t.redacted_by is null or t.redacted_by <> all(${[...REDACTION_RULES]}::text[]))
      and ${isChosen(order)} limit 1`.execute(db);
  return rows.length > 0;
}

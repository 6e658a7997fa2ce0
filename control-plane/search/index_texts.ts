/** The upkeep of the index of lines. The search is right without it, and slow. */
import { type Kysely, sql, type Transaction } from "kysely";
import type { DeviceId, RevisionId, Sha256, SiteId } from "@rookery/shared/ids.ts";
import { REDACTION_RULES, redactionRules } from "../backups/redaction_rules.ts";
import type { TextServices } from "../backups/render_text.ts";
import { tryRender } from "../backups/try_render.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";

/** The letters of "search" as a number. Who holds it is the only one to add lines or take some away. */
const LOCK = "126879277769576";
/** Texts that are indexed together: whoever stores a newer one of them waits that long. */
const AT_ONCE = 20;
/** A text that is longer is rare, and looked through as it is. */
const MOST_BYTES = 1_000_000;
/** What texts that are indexed together may have together, unless it is one alone. */
const BYTES_AT_ONCE = 2_000_000;

interface WaitingText {
  readonly deviceId: DeviceId;
  readonly siteId: SiteId;
  readonly capture: string;
  readonly revisionId: RevisionId;
  readonly platform: string;
  readonly rawSha256: Sha256;
  readonly redactedBy: string | null;
  readonly bytes: number;
}

/**
 * Puts the texts that wait into the index, those that were redacted by other rules after they were redacted anew. Returns how many;
 * 0 also while another replica does it.
 */
export async function indexTexts(
  { db, ...services }: TextServices & { readonly db: Kysely<Database> },
): Promise<number> {
  return await inTransaction(db, async (tx) => {
    if (!await lockLines(tx)) return 0;
    const waiting = await takeWaiting(tx);
    if (waiting.length === 0) return 0;
    const held: WaitingText[] = [];
    for (const text of waiting) if (await isRedacted(tx, services, text)) held.push(text);
    await addLines(tx, held);
    await listLines(tx, held);
    await markSearchable(tx, waiting);
    return waiting.length;
  });
}

async function lockLines(tx: Transaction<Database>): Promise<boolean> {
  const { rows: [row] } = await sql<{ held: boolean }>`
    select pg_try_advisory_xact_lock(${LOCK}::bigint) as held`.execute(tx);
  return row?.held ?? false;
}

/** One that is being replaced right now comes next time. */
async function takeWaiting(tx: Transaction<Database>): Promise<WaitingText[]> {
  const { rows } = await sql<WaitingText>`
    select t.device_id as "deviceId", r.site_id as "siteId", t.capture, t.revision_id as "revisionId",
      r.platform, r.raw_sha256 as "rawSha256", t.redacted_by as "redactedBy",
      octet_length(t.text) as bytes
    from current_texts t join revisions r on r.id = t.revision_id
    where not t.searchable
    order by t.device_id, t.capture limit ${AT_ONCE} for update of t skip locked`.execute(tx);
  let bytes = 0;
  return rows.filter((row, at) => {
    bytes += Math.min(row.bytes, MOST_BYTES);
    return at === 0 || bytes <= BYTES_AT_ONCE;
  });
}

/** Whether the stored text is redacted by today's rules, if need be by now; not when its bytes cannot be read. */
async function isRedacted(
  tx: Transaction<Database>,
  services: TextServices,
  waiting: WaitingText,
): Promise<boolean> {
  const { deviceId, capture, platform } = waiting;
  const redactedBy = redactionRules(platform);
  if (redactedBy === null) return false;
  if (redactedBy === waiting.redactedBy) return true;
  const text = await tryRender(tx, { ...services, ...waiting });
  if (text === undefined) return false;
  await tx.updateTable("currentTexts").set({ text, redactedBy })
    .where("deviceId", "=", deviceId).where("capture", "=", capture).execute();
  return true;
}

/** The distinct lines of these texts, each with its digest; none of a text that is long. */
function linesOf(texts: readonly WaitingText[]) {
  return sql`
    select distinct t.device_id, t.capture, line,
      substring(sha256(convert_to(line, 'UTF8')) from 1 for 16) as digest
    from current_texts t
    cross join lateral string_to_table(left(t.text, -1), chr(10)) as split(line)
    where t.revision_id = any(${texts.map(({ revisionId }) => revisionId)}::uuid[])
      and octet_length(t.text) <= ${MOST_BYTES}`;
}

async function addLines(tx: Transaction<Database>, texts: readonly WaitingText[]): Promise<void> {
  await sql`
    insert into search_lines (id, digest, line)
    select (select coalesce(max(id), 0) from search_lines) + row_number() over (), n.digest, n.line
    from (
      select l.digest, min(l.line) as line from (${linesOf(texts)}) l
      where not exists (select from search_lines k where k.digest = l.digest)
      group by l.digest
    ) n`.execute(tx);
}

async function listLines(tx: Transaction<Database>, texts: readonly WaitingText[]): Promise<void> {
  await sql`
    insert into search_texts (device_id, capture, line_ids)
    select t.device_id, t.capture, l.ids
    from current_texts t left join (
      select l.device_id, l.capture, array_agg(k.id order by k.id) as ids
      from (${linesOf(texts)}) l join search_lines k on k.digest = l.digest
      group by l.device_id, l.capture
    ) l on l.device_id = t.device_id and l.capture = t.capture
    where t.revision_id = any(${texts.map(({ revisionId }) => revisionId)}::uuid[])
    on conflict (device_id, capture) do update set line_ids = excluded.line_ids`.execute(tx);
}

/** Also what cannot be redacted anew, so that it is not tried for ever: it stays out of every search by its old rules. */
async function markSearchable(
  tx: Transaction<Database>,
  texts: readonly WaitingText[],
): Promise<void> {
  await sql`
    update current_texts set searchable = true
    where revision_id = any(${texts.map(({ revisionId }) => revisionId)}::uuid[])`.execute(tx);
}

/** Texts that are looked at together for the rules they were redacted by. */
const LOOKED_AT = 5_000;

/** Lets the texts wait that were redacted by other rules than today's, as they were before an update. */
export async function renewOldTexts(db: Kysely<Database>): Promise<void> {
  let renewed = LOOKED_AT;
  while (renewed === LOOKED_AT) {
    const { numAffectedRows = 0n } = await sql`
      update current_texts set searchable = false where (device_id, capture) in (
        select device_id, capture from current_texts
        where searchable and (redacted_by is null
          or redacted_by <> all(${[...REDACTION_RULES]}::text[]))
        limit ${LOOKED_AT})`.execute(db);
    renewed = Number(numAffectedRows);
  }
}

/** Ids of lines that one run looks at. */
const SHARE = 50_000;

/** Takes lines away that no current text has any more: of a share of them, from anywhere, so that all have their turn. */
export async function forgetLines(db: Kysely<Database>): Promise<void> {
  await inTransaction(db, async (tx) => {
    if (!await lockLines(tx)) return;
    await sql`
      with share as materialized (
        select id from search_lines
        where id >= (select floor(random() * max(id)) from search_lines) order by id limit ${SHARE}
      )
      delete from search_lines l using share where l.id = share.id
        and not exists (select from search_texts t where t.line_ids @> array[share.id])`.execute(
      tx,
    );
  });
}

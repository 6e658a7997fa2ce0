import { type Kysely, type RawBuilder, sql, type SqlBool } from "kysely";
import { parseTagExpression, type TagCondition } from "@rookery/shared/api/tag_expression.ts";
import type { Database } from "../database/schema.ts";

/**
 * The condition that the device with the id in `deviceId` (such as `devices.id`) fulfils a tag expression; names travel as
 * parameters. Devices have few tags, so each name costs one look at the key of device_tags. Throws a TagExpressionError.
 */
export function hasTags(deviceId: string, expression: string): RawBuilder<SqlBool> {
  return conditionOf(sql.ref(deviceId), parseTagExpression(expression));
}

/** The tags of a name: one for each tenant that has it. */
interface NamedTags {
  readonly ids: readonly string[];
  /** None has more devices than RARE. */
  readonly rare: boolean;
}

/** By their names in small letters. */
export type KnownTags = ReadonlyMap<string, NamedTags>;

/** So few devices are looked at one by one faster than all others are passed over. */
const RARE = 1_000;

/** Looks up the tags that an expression names. Throws a TagExpressionError. */
export async function findTags(db: Kysely<Database>, expression: string): Promise<KnownTags> {
  const names = [...new Set(namesOf(parseTagExpression(expression)))];
  const { rows } = await sql<NamedTags & { name: string }>`
    select lower(w.name) as name, array_agg(t.id) as ids, max(n.devices) <= ${RARE} as rare
    from unnest(${names}::text[]) w(name) join tags t on lower(t.name) = lower(w.name),
      lateral (select count(*) as devices from (
        select from device_tags x where x.tag_id = t.id limit ${RARE + 1}) y) n
    group by 1`.execute(db);
  return new Map(rows.map(({ name, ...tags }) => [name, tags]));
}

/**
 * As `hasTags`, for a statement that walks through all devices: knowing the tags, the planner knows how many devices have
 * them. Where only devices with rare tags can fulfil the expression, it begins with those.
 */
export function hasKnownTags(
  deviceId: string,
  { tags, known }: { readonly tags: string; readonly known: KnownTags },
): RawBuilder<SqlBool> {
  const asked = parseTagExpression(tags);
  const id = sql.ref(deviceId);
  const condition = conditionOf(id, asked, known);
  const names = rareOf(asked, known);
  if (!names) return condition;
  const ids = idsOf(names, known);
  return sql<SqlBool>`(${condition} and ${id} = any(array(
    select x.device_id from device_tags x where x.tag_id = any(${ids}::uuid[]))))`;
}

/** Rare tags of which every device has one that fulfils the condition; undefined when there are none such. */
function rareOf(asked: TagCondition, known: KnownTags): readonly string[] | undefined {
  if ("not" in asked) return undefined;
  if ("tag" in asked) return isRare(asked.tag, known) ? [asked.tag] : undefined;
  if ("and" in asked) {
    return asked.and.map((part) => rareOf(part, known)).find((names) => names !== undefined);
  }
  const parts = asked.or.map((part) => rareOf(part, known));
  return parts.every((names) => names !== undefined) ? parts.flat() : undefined;
}

/** A name that no tag has is the rarest. */
function isRare(name: string, known: KnownTags): boolean {
  return known.get(name.toLowerCase())?.rare ?? true;
}

function idsOf(names: readonly string[], known: KnownTags): string[] {
  return [...new Set(names.flatMap((name) => known.get(name.toLowerCase())?.ids ?? []))];
}

/** Whether an expression names a tag; large and small letters make no difference. */
export function namesTag(expression: string, name: string): boolean {
  return namesOf(parseTagExpression(expression))
    .some((named) => named.toLowerCase() === name.toLowerCase());
}

function namesOf(asked: TagCondition): readonly string[] {
  if ("not" in asked) return namesOf(asked.not);
  if ("tag" in asked) return [asked.tag];
  return ("and" in asked ? asked.and : asked.or).flatMap(namesOf);
}

function conditionOf(
  deviceId: RawBuilder<unknown>,
  asked: TagCondition,
  known?: KnownTags,
): RawBuilder<SqlBool> {
  if ("not" in asked) return sql<SqlBool>`(not ${conditionOf(deviceId, asked.not, known)})`;
  if ("tag" in asked) {
    return known ? isAny(deviceId, [asked.tag], known) : hasTag(deviceId, asked.tag);
  }
  if ("or" in asked && known && asked.or.every((part) => "tag" in part)) {
    return isAny(deviceId, asked.or.flatMap(namesOf), known);
  }
  const [word, parts] = "and" in asked ? [sql` and `, asked.and] : [sql` or `, asked.or];
  const conditions = parts.map((part) => conditionOf(deviceId, part, known));
  return sql<SqlBool>`(${sql.join(conditions, word)})`;
}

function isAny(
  deviceId: RawBuilder<unknown>,
  names: readonly string[],
  known: KnownTags,
): RawBuilder<SqlBool> {
  const ids = idsOf(names, known);
  const [first] = ids;
  if (first === undefined) return sql<SqlBool>`false`;
  // Of one tag, the planner sees that a device has it once.
  const isOne = ids.length === 1 ? sql`x.tag_id = ${first}` : sql`x.tag_id = any(${ids}::uuid[])`;
  return sql<SqlBool>`exists (
    select 1 from device_tags x where x.device_id = ${deviceId} and ${isOne})`;
}

/** The ids of the tags of that name, one for each tenant, are looked up once for the whole statement. */
function hasTag(deviceId: RawBuilder<unknown>, name: string): RawBuilder<SqlBool> {
  return sql<SqlBool>`exists (
    select 1 from device_tags x where x.device_id = ${deviceId}
      and x.tag_id = any(array(select t.id from tags t where lower(t.name) = lower(${name}))))`;
}

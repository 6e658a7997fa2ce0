import { type RawBuilder, sql } from "kysely";
import { DEFAULTS, type SettingKey, type SettingValue } from "@rookery/shared/settings/mod.ts";

/** Those that are columns of `installation`, where every statement reads them as they are. */
type ColumnKey = Extract<SettingKey, `queue.${string}`>;

/**
 * The value of a setting as SQL, for statements that decide by it: they go by what is committed when they begin, on every
 * replica. PostgreSQL looks it up once in a statement. What is stored and is of another type counts for nothing.
 */
export function inForce<Key extends Exclude<SettingKey, ColumnKey>>(
  key: Key,
): RawBuilder<SettingValue<Key>> {
  const fallback = DEFAULTS[key];
  if (typeof fallback === "number") {
    return sql`coalesce((select case when jsonb_typeof(value) = 'number' then value::int end
      from settings where name = ${key}), ${fallback}::int)`;
  }
  return sql`coalesce((select value #>> '{}' from settings
    where name = ${key} and jsonb_typeof(value) = 'string'), ${fallback}::text)`;
}

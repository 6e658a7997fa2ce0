import { type RawBuilder, sql } from "kysely";
import { DEFAULTS, type SettingKey, type SettingValues } from "@rookery/shared/settings/mod.ts";

/** The settings that are numbers. */
type NumberKey = { [Key in SettingKey]: SettingValues[Key] extends number ? Key : never }[
  SettingKey
];

/**
 * The value of a setting as SQL, for statements that decide by it: they go by what is committed when they begin, on every
 * replica. PostgreSQL looks it up once in a statement. Not for settings that are columns of `installation`.
 */
export function inForce(key: Exclude<NumberKey, `queue.${string}`>): RawBuilder<number> {
  return sql`coalesce((select case when jsonb_typeof(value) = 'number' then value::int end
    from settings where name = ${key}), ${DEFAULTS[key]}::int)`;
}

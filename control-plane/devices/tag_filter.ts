import { type RawBuilder, sql, type SqlBool } from "kysely";
import { parseTagExpression, type TagCondition } from "@rookery/shared/api/tag_expression.ts";

/**
 * The condition that the device with the id in `deviceId` (such as `devices.id`) fulfils a tag expression; names travel as
 * parameters. Devices have few tags, so each name costs one look at the key of device_tags. Throws a TagExpressionError.
 */
export function hasTags(deviceId: string, expression: string): RawBuilder<SqlBool> {
  return conditionOf(sql.ref(deviceId), parseTagExpression(expression));
}

function conditionOf(deviceId: RawBuilder<unknown>, asked: TagCondition): RawBuilder<SqlBool> {
  if ("not" in asked) return sql<SqlBool>`(not ${conditionOf(deviceId, asked.not)})`;
  if ("tag" in asked) return hasTag(deviceId, asked.tag);
  const [word, parts] = "and" in asked ? [sql` and `, asked.and] : [sql` or `, asked.or];
  return sql<SqlBool>`(${sql.join(parts.map((part) => conditionOf(deviceId, part)), word)})`;
}

/** The ids of the tags of that name, one for each tenant, are looked up once for the whole statement. */
function hasTag(deviceId: RawBuilder<unknown>, name: string): RawBuilder<SqlBool> {
  return sql<SqlBool>`exists (
    select 1 from device_tags x where x.device_id = ${deviceId}
      and x.tag_id = any(array(select t.id from tags t where lower(t.name) = lower(${name}))))`;
}

import { type RawBuilder, sql, type SqlBool } from "kysely";
import type { DeviceId, SiteId } from "@rookery/shared/ids.ts";
import { escapeLike } from "../database/like.ts";
import { hasTags } from "../devices/tag_filter.ts";
import { isVisible, type Scope } from "../permissions/scope.ts";

/** What is looked for, in one line at a time. */
export interface Sought {
  readonly text?: string | undefined;
  readonly pattern?: string | undefined;
  readonly ignoreCase: boolean;
}

/** Where it is looked for, and how much of it is shown. */
export interface SearchOrder extends Sought {
  readonly scope: Scope;
  readonly limit: number;
  readonly context: number;
  readonly siteId?: SiteId | undefined;
  readonly deviceId?: DeviceId | undefined;
  readonly tags?: string | undefined;
  readonly platform?: string | undefined;
  readonly capture?: string | undefined;
  readonly archived: boolean;
}

/** The condition that the line in `column` is what is looked for. */
export function matches(
  column: string,
  { text = "", pattern, ignoreCase }: Sought,
): RawBuilder<SqlBool> {
  const line = sql.ref(column);
  if (pattern !== undefined) {
    return ignoreCase
      ? sql<SqlBool>`${line} ~* ${pattern}::text`
      : sql<SqlBool>`${line} ~ ${pattern}::text`;
  }
  const like = `%${escapeLike(text)}%`;
  return ignoreCase
    ? sql<SqlBool>`${line} ilike ${like}::text`
    : sql<SqlBool>`${line} like ${like}::text`;
}

/** Which devices, `d`, and which texts of them, `t`, the caller may see and has asked for. */
export function isChosen(order: SearchOrder): RawBuilder<SqlBool> {
  const { scope, siteId, deviceId, tags, platform, capture, archived } = order;
  const conditions = [
    isVisible("d.site_id", scope),
    isVisible("t.site_id", scope),
    archived ? sql`d.archived_at is not null` : sql`d.archived_at is null`,
    ...siteId === undefined ? [] : [sql`d.site_id = ${siteId}::uuid`],
    ...deviceId === undefined ? [] : [sql`d.id = ${deviceId}::uuid`],
    ...platform === undefined ? [] : [sql`d.platform = ${platform}::text`],
    ...capture === undefined ? [] : [sql`t.capture = ${capture}::text`],
    ...tags === undefined ? [] : [hasTags("d.id", tags)],
  ];
  return sql<SqlBool>`(${sql.join(conditions, sql` and `)})`;
}

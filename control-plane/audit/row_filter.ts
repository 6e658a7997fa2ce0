import { type Expression, type RawBuilder, sql, type SqlBool } from "kysely";
import type { AuditFilter } from "@rookery/shared/api/audit.ts";
import { escapeLike } from "../database/like.ts";

/** What `audit_rows_text` is an index of. */
const TEXT = sql`(actor_name || ' ' || action || ' ' || target_id || ' ' || address || ' '
  || detail::text)`;

const EQUAL = {
  actorKind: "actor_kind",
  actorId: "actor_id",
  action: "action",
  targetKind: "target_kind",
  targetId: "target_id",
  siteId: "site_id",
  address: "address",
  requestId: "request_id",
} as const satisfies Partial<Record<keyof AuditFilter, string>>;

/** A filter as SQL; what is not asked for stands in no condition, so that the others find their indexes. */
export function rowMatches(filter: AuditFilter): Expression<SqlBool> {
  const { actorName, text, from, until } = filter;
  const parts: RawBuilder<unknown>[] = [sql`true`];
  for (const [name, column] of Object.entries(EQUAL)) {
    const value = filter[name as keyof typeof EQUAL];
    if (value !== undefined) parts.push(sql`${sql.ref(column)} = ${value}`);
  }
  if (actorName !== undefined) parts.push(sql`lower(actor_name) = lower(${actorName})`);
  if (text !== undefined) parts.push(sql`${TEXT} ilike ${`%${escapeLike(text)}%`}`);
  if (from !== undefined) parts.push(sql`at >= ${from}::timestamptz`);
  if (until !== undefined) parts.push(sql`at < ${until}::timestamptz`);
  return sql<SqlBool>`(${sql.join(parts, sql` and `)})`;
}

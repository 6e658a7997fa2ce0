/**
 * The one scope predicate: what a caller may see. Every statement that reads or changes data of a site goes through
 * `whereVisible`, so that somebody of one site never learns what another has.
 */
import { type Expression, sql, type SqlBool } from "kysely";
import type { SiteId, TenantId } from "@rookery/shared/ids.ts";
import { can, type Scope } from "../http/caller.ts";

export { can, type Scope };

interface Filterable<Query> {
  where(expression: Expression<SqlBool>): Query;
}

/** Narrows a statement to rows whose site, in `column` (such as `devices.siteId`), the scope reaches. */
export function whereVisible<Query extends Filterable<Query>>(
  query: Query,
  column: string,
  scope: Scope,
): Query {
  return scope.all ? query : query.where(isVisible(column, scope));
}

/** Narrows a statement to rows whose tenant, in `column`, has a site that the scope reaches. */
export function whereTenantVisible<Query extends Filterable<Query>>(
  query: Query,
  column: string,
  scope: Scope,
): Query {
  return scope.all ? query : query.where(isTenantVisible(column, scope));
}

/** The predicate of `whereTenantVisible`, for statements written as SQL. */
export function isTenantVisible(column: string, scope: Scope): Expression<SqlBool> {
  if (scope.all) return sql<SqlBool>`true`;
  return sql<SqlBool>`(${sql.ref(column)} = any(${[...scope.tenantIds ?? []]}::uuid[])
    or ${sql.ref(column)} in (select tenant_id from sites where ${isVisible("sites.id", scope)}))`;
}

/** The predicate itself, for statements written as SQL. */
export function isVisible(column: string, scope: Scope): Expression<SqlBool> {
  return scope.all
    ? sql<SqlBool>`true`
    : sql<SqlBool>`${sql.ref(column)} = any(${[...scope.siteIds]}::uuid[])`;
}

/** For rows of several sites, an array in `column` (null: every site): each of them must be visible. */
export function areVisible(column: string, scope: Scope): Expression<SqlBool> {
  return scope.all
    ? sql<SqlBool>`true`
    : sql<SqlBool>`coalesce(${sql.ref(column)} <@ ${[...scope.siteIds]}::uuid[], false)`;
}

/** The same of one site, for what was read for many callers at once. */
export function reachesSite(scope: Scope, siteId: SiteId): boolean {
  return scope.all || scope.siteIds.includes(siteId);
}

/** Whether a tenant is reached as a whole, with the sites that it will have. */
export function reachesTenant(scope: Scope, tenantId: TenantId): boolean {
  return scope.all || (scope.tenantIds?.includes(tenantId) ?? false);
}

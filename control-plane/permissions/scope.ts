/**
 * The one scope predicate: what a caller may see. Every statement that reads or changes data of a site goes through
 * `whereVisible`, so that somebody of one site never learns what another has.
 */
import { type Expression, sql, type SqlBool } from "kysely";
import { type Permission, PERMISSIONS } from "@rookery/shared/api/access.ts";
import type { SiteId } from "@rookery/shared/ids.ts";
import { can, EVERYTHING, type Scope } from "../http/caller.ts";

export { can, type Scope };

/** What a user may do. Roles will be read here; until then an administrator may do everything, others nothing. */
export function grantsOf(user: { readonly administrator: boolean }): ReadonlyMap<
  Permission,
  Scope
> {
  if (!user.administrator) return new Map();
  return new Map((Object.keys(PERMISSIONS) as Permission[]).map((name) => [name, EVERYTHING]));
}

/** What is left of a person's grants to a token that was made for less; never more than the person has now. */
export function narrowGrants(
  grants: ReadonlyMap<Permission, Scope>,
  limit: {
    readonly permissions: readonly string[] | null;
    readonly siteIds: readonly SiteId[] | null;
  },
): ReadonlyMap<Permission, Scope> {
  const kept = [...grants].filter(([name]) => limit.permissions?.includes(name) ?? true);
  return new Map(kept.map(([name, scope]) => [name, narrowScope(scope, limit.siteIds)]));
}

function narrowScope(scope: Scope, siteIds: readonly SiteId[] | null): Scope {
  if (siteIds === null) return scope;
  if (scope.all) return { all: false, siteIds };
  return { all: false, siteIds: scope.siteIds.filter((siteId) => siteIds.includes(siteId)) };
}

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
  if (scope.all) return query;
  return query.where(
    sql<SqlBool>`${sql.ref(column)} in (
      select tenant_id from sites where ${isVisible("sites.id", scope)})`,
  );
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

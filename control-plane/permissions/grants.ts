import { Permission, permissionsOf, REACHES } from "@rookery/shared/api/access.ts";
import type { SiteId, TenantId } from "@rookery/shared/ids.ts";
import { EVERYTHING, type Grants, NOTHING, type Scope } from "../http/caller.ts";
import type { GrantedRule } from "./rules.ts";

/** What a user may do: an administrator everything, anybody else what the rules of their roles come to together. */
export function grantsOf(
  user: { readonly administrator: boolean; readonly rules: readonly GrantedRule[] },
): Grants {
  if (user.administrator) return new Map(Permission.options.map((name) => [name, EVERYTHING]));
  const grants = new Map<Permission, Scope>();
  for (const rule of user.rules) {
    for (const name of new Set(rule.actions.flatMap(permissionsOf))) {
      const scope = scopeOf(rule, name);
      if (scope) grants.set(name, unite(grants.get(name) ?? NOTHING, scope));
    }
  }
  return grants;
}

/** How far a rule reaches with one of its permissions; undefined where it holds none of it. */
function scopeOf(rule: GrantedRule, name: Permission): Scope | undefined {
  const { tenantIds, siteIds, tenantSiteIds } = rule;
  if (tenantIds === null || siteIds === null) return EVERYTHING;
  const reach = REACHES[name];
  // A wildcard of a narrowed rule stands for what of it can be narrowed.
  if (reach === "none" || reach === "tenant" && tenantIds.length === 0) return undefined;
  const named = reach === "tenant" ? [] : siteIds;
  return { all: false, siteIds: [...named, ...tenantSiteIds], tenantIds };
}

function unite(one: Scope, other: Scope): Scope {
  if (one.all || other.all) return EVERYTHING;
  return {
    all: false,
    siteIds: [...new Set([...one.siteIds, ...other.siteIds])],
    tenantIds: [...new Set([...one.tenantIds ?? [], ...other.tenantIds ?? []])],
  };
}

/** What is left of a person's grants to a token that was made for less; never more than the person has now. */
export function narrowGrants(
  grants: Grants,
  limit: {
    readonly permissions: readonly string[] | null;
    readonly siteIds: readonly SiteId[] | null;
  },
): Grants {
  const kept = [...grants].filter(([name]) => limit.permissions?.includes(name) ?? true);
  return new Map(kept.map(([name, scope]) => [name, narrowScope(scope, limit.siteIds)]));
}

function narrowScope(scope: Scope, siteIds: readonly SiteId[] | null): Scope {
  if (siteIds === null) return scope;
  if (scope.all) return { all: false, siteIds };
  return { all: false, siteIds: scope.siteIds.filter((siteId) => siteIds.includes(siteId)) };
}

/** The first permission that `wanted` holds further than `own`; undefined when there is none. */
export function findBeyond(own: Grants, wanted: Grants): Permission | undefined {
  return [...wanted].find(([name, scope]) => !contains(own.get(name), scope))?.[0];
}

function contains(own: Scope | undefined, wanted: Scope): boolean {
  if (!own) return false;
  if (own.all) return true;
  if (wanted.all) return false;
  const sites = new Set<SiteId>(own.siteIds);
  const tenants = new Set<TenantId>(own.tenantIds);
  return wanted.siteIds.every((id) => sites.has(id)) &&
    (wanted.tenantIds ?? []).every((id) => tenants.has(id));
}

/**
 * What a user was given, read in the statement that finds out who is calling: each request needs both, and neither is worth
 * a second way to the database.
 */
import { type RawBuilder, sql } from "kysely";
import type { SiteId, TenantId } from "@rookery/shared/ids.ts";

/** A row of permissions with the sites that it reaches by now; `null` for everywhere. */
export interface GrantedRule {
  readonly actions: readonly string[];
  readonly tenantIds: readonly TenantId[] | null;
  /** Those that are named, as far as they exist. */
  readonly siteIds: readonly SiteId[] | null;
  /** Those that the tenants have. */
  readonly tenantSiteIds: readonly SiteId[];
}

/** The rule that a row `p` of permissions is. */
export const ruleOf: RawBuilder<GrantedRule> = sql<GrantedRule>`jsonb_build_object(
  'actions', p.actions, 'tenantIds', p.tenant_ids,
  'siteIds', case when p.site_ids is not null then array(
    select s.id from sites s where s.id = any(p.site_ids)) end,
  'tenantSiteIds', array(select s.id from sites s where s.tenant_id = any(p.tenant_ids)))`;

/** The rules of the user in the row `users`; none of an administrator, who needs none. */
export const rulesOf: RawBuilder<GrantedRule[]> = sql<GrantedRule[]>`
  case when users.administrator then '[]'::jsonb else (
    select coalesce(jsonb_agg(${ruleOf}), '[]'::jsonb) from permissions p where p.id in (
      select rp.permission_id from user_roles ur join role_permissions rp on rp.role_id = ur.role_id
      where ur.user_id = users.id))
  end`;

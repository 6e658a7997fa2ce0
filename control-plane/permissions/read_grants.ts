import type { Kysely } from "kysely";
import type { PermissionId, RoleId, UserId } from "@rookery/shared/ids.ts";
import { sql } from "kysely";
import type { Database } from "../database/schema.ts";
import type { Grants } from "../http/caller.ts";
import { ADMINISTRATOR_ROLE } from "../roles/built_in.ts";
import { grantsOf } from "./grants.ts";
import { type GrantedRule, ruleOf, rulesOf } from "./rules.ts";

/** What a user may do by now; nothing when there is no such user. */
export async function readGrants(db: Kysely<Database>, userId: UserId): Promise<Grants> {
  const row = await db.selectFrom("users").select(["administrator", rulesOf.as("rules")])
    .where("id", "=", userId).executeTakeFirst();
  return row ? grantsOf(row) : new Map();
}

/** What roles come to together. */
export async function readGrantsOfRoles(
  db: Kysely<Database>,
  roleIds: readonly RoleId[],
): Promise<Grants> {
  const { rows } = await sql<{ rule: GrantedRule }>`
    select ${ruleOf} as rule from permissions p where p.id in (
      select permission_id from role_permissions where role_id = any(${[...roleIds]}::uuid[]))`
    .execute(db);
  const administrator = roleIds.includes(ADMINISTRATOR_ROLE);
  return grantsOf({ administrator, rules: rows.map(({ rule }) => rule) });
}

/** What permissions come to together. */
export async function readGrantsOfPermissions(
  db: Kysely<Database>,
  permissionIds: readonly PermissionId[],
): Promise<Grants> {
  const { rows } = await sql<{ rule: GrantedRule }>`
    select ${ruleOf} as rule from permissions p where p.id = any(${[...permissionIds]}::uuid[])`
    .execute(db);
  return grantsOf({ administrator: false, rules: rows.map(({ rule }) => rule) });
}

import { type Kysely, sql, type Transaction } from "kysely";
import type { PermissionId, RoleId } from "@rookery/shared/ids.ts";
import type { Database } from "../database/schema.ts";

const permissionIdsOf = sql<PermissionId[]>`array(
  select permission_id from role_permissions where role_id = roles.id order by permission_id)`;

export interface RoleSelection {
  readonly limit: number;
  readonly roleId?: RoleId;
  readonly after?: RoleId | undefined;
}

/** Roles with the permissions that they are made of. */
export function selectRoles(db: Kysely<Database>, { after, roleId, limit }: RoleSelection) {
  return db.selectFrom("roles").selectAll().select(permissionIdsOf.as("permissionIds"))
    .$if(after !== undefined, (query) => query.where("id", ">", after as RoleId))
    .$if(roleId !== undefined, (query) => query.where("id", "=", roleId as RoleId))
    .orderBy("id").limit(limit).execute();
}

export type RoleRow = Awaited<ReturnType<typeof selectRoles>>[number];

/** Those of the ids that no role has. The others cannot be deleted before the transaction ends. */
export async function selectUnknownRoles(
  tx: Transaction<Database>,
  roleIds: readonly RoleId[],
): Promise<RoleId[]> {
  const { rows } = await sql<{ id: RoleId }>`
    select id from roles where id = any(${[...roleIds]}::uuid[]) order by id for key share`
    .execute(tx);
  const known = new Set(rows.map(({ id }) => id));
  return roleIds.filter((id) => !known.has(id));
}

/** Locks a role, so that what is decided about it is decided of what it is. */
export async function lockRole(tx: Transaction<Database>, roleId: RoleId): Promise<void> {
  await tx.selectFrom("roles").select("id").where("id", "=", roleId).forUpdate().execute();
}

export async function insertRole(
  tx: Transaction<Database>,
  role: { readonly id: RoleId; readonly name: string; readonly description: string },
): Promise<void> {
  await tx.insertInto("roles").values(role).execute();
}

export async function updateRole(
  tx: Transaction<Database>,
  id: RoleId,
  change: { readonly name?: string; readonly description?: string },
): Promise<void> {
  if (Object.keys(change).length === 0) return;
  await tx.updateTable("roles").set(change).where("id", "=", id).execute();
}

/** Makes a role of these permissions and no others. */
export async function replacePermissions(
  tx: Transaction<Database>,
  { id, permissionIds }: { readonly id: RoleId; readonly permissionIds: readonly PermissionId[] },
): Promise<void> {
  const wanted = sql`${[...permissionIds]}::uuid[]`;
  await sql`
    with taken as (
      delete from role_permissions where role_id = ${id} and permission_id <> all(${wanted})
    )
    insert into role_permissions (role_id, permission_id) select ${id}, unnest(${wanted})
    on conflict do nothing`.execute(tx);
}

export async function deleteRole(tx: Transaction<Database>, id: RoleId): Promise<void> {
  await tx.deleteFrom("roles").where("id", "=", id).execute();
}

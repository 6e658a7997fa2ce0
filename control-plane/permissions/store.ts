import {
  type Insertable,
  type Kysely,
  type Selectable,
  sql,
  type Transaction,
  type Updateable,
} from "kysely";
import type { PermissionId, SiteId, TenantId } from "@rookery/shared/ids.ts";
import type { Database, PermissionsTable } from "../database/schema.ts";

export type PermissionRecord = Selectable<PermissionsTable>;

export interface PermissionSelection {
  readonly limit: number;
  readonly permissionId?: PermissionId;
  readonly after?: PermissionId | undefined;
}

export function selectPermissions(
  db: Kysely<Database>,
  { after, permissionId, limit }: PermissionSelection,
): Promise<PermissionRecord[]> {
  return db.selectFrom("permissions").selectAll()
    .$if(after !== undefined, (query) => query.where("id", ">", after as PermissionId))
    .$if(
      permissionId !== undefined,
      (query) => query.where("id", "=", permissionId as PermissionId),
    )
    .orderBy("id").limit(limit).execute();
}

/** Those of the ids that no permission has. The others cannot be deleted before the transaction ends. */
export async function selectUnknownPermissions(
  tx: Transaction<Database>,
  permissionIds: readonly PermissionId[],
): Promise<PermissionId[]> {
  const { rows } = await sql<{ id: PermissionId }>`
    select id from permissions where id = any(${[
    ...permissionIds,
  ]}::uuid[]) order by id for key share`
    .execute(tx);
  const known = new Set(rows.map(({ id }) => id));
  return permissionIds.filter((id) => !known.has(id));
}

/** Of a selector: what does not exist. */
export async function selectUnknownPlaces(
  db: Kysely<Database>,
  { tenantIds, siteIds }: {
    readonly tenantIds: readonly TenantId[];
    readonly siteIds: readonly SiteId[];
  },
) {
  const { rows } = await sql<{ field: "tenantIds" | "siteIds"; id: string }>`
    select 'tenantIds' as field, id from unnest(${[...tenantIds]}::uuid[]) as wanted(id)
    where not exists (select 1 from tenants t where t.id = wanted.id)
    union all
    select 'siteIds', id from unnest(${[...siteIds]}::uuid[]) as wanted(id)
    where not exists (select 1 from sites s where s.id = wanted.id)`.execute(db);
  return rows;
}

/** Locks a permission, so that what is decided about it is decided of what it is. */
export async function lockPermission(tx: Transaction<Database>, id: PermissionId): Promise<void> {
  await tx.selectFrom("permissions").select("id").where("id", "=", id).forUpdate().execute();
}

export async function insertPermission(
  tx: Transaction<Database>,
  permission: Insertable<PermissionsTable>,
): Promise<void> {
  await tx.insertInto("permissions").values(permission).execute();
}

export async function updatePermission(
  tx: Transaction<Database>,
  id: PermissionId,
  change: Updateable<PermissionsTable>,
): Promise<void> {
  if (Object.keys(change).length === 0) return;
  await tx.updateTable("permissions").set(change).where("id", "=", id).execute();
}

export async function deletePermission(tx: Transaction<Database>, id: PermissionId): Promise<void> {
  await tx.deleteFrom("permissions").where("id", "=", id).execute();
}

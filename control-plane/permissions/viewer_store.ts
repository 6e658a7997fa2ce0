import { type Kysely, sql, type SqlBool } from "kysely";
import { Action, permissionsOf, REACHES } from "@rookery/shared/api/access.ts";
import type { DeviceId, SiteId, UserId } from "@rookery/shared/ids.ts";
import type { Database } from "../database/schema.ts";
import { roleIdsOf } from "../users/store.ts";
import { rulesOf } from "./rules.ts";

/** Actions that say something about a site. */
const SITE_ACTIONS = Action.options.filter((action) =>
  permissionsOf(action).some((name) => REACHES[name] !== "none")
);

export async function isSite(db: Kysely<Database>, siteId: SiteId): Promise<boolean> {
  const row = await db.selectFrom("sites").select("id").where("id", "=", siteId).executeTakeFirst();
  return row !== undefined;
}

export async function findSiteOfDevice(
  db: Kysely<Database>,
  deviceId: DeviceId,
): Promise<SiteId | undefined> {
  const row = await db.selectFrom("devices").select("siteId").where("id", "=", deviceId)
    .executeTakeFirst();
  return row?.siteId;
}

/** Users in use whose roles reach a site with something that is about sites. */
export function selectViewers(
  db: Kysely<Database>,
  { siteId, after, limit }: {
    readonly siteId: SiteId;
    readonly after: UserId | undefined;
    readonly limit: number;
  },
) {
  const reaches = sql<SqlBool>`(users.administrator or exists (
    select 1 from user_roles ur join role_permissions rp on rp.role_id = ur.role_id
    join permissions p on p.id = rp.permission_id
    where ur.user_id = users.id and p.actions && ${SITE_ACTIONS}::text[]
      and (p.site_ids is null or ${siteId} = any(p.site_ids)
        or (select tenant_id from sites where id = ${siteId}) = any(p.tenant_ids))))`;
  return db.selectFrom("users").select(["id as userId", "username", "displayName", "administrator"])
    .select([roleIdsOf.as("roleIds"), rulesOf.as("rules")])
    .where("disabledAt", "is", null).where(reaches)
    .$if(after !== undefined, (query) => query.where("id", ">", after as UserId))
    .orderBy("id").limit(limit).execute();
}

export type ViewerRow = Awaited<ReturnType<typeof selectViewers>>[number];

import type { Kysely, Transaction } from "kysely";
import { PERMISSIONS } from "@rookery/shared/api/access.ts";
import {
  createPermission,
  deletePermission,
  getPermission,
  type Grant,
  listMyPermissions,
  listPermissions,
  type Selector,
  updatePermission,
} from "@rookery/shared/api/permissions.ts";
import { PermissionId, type SiteId, type TenantId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { changedFields, given } from "../audit/changed_fields.ts";
import { actorOf, writeAudit } from "../audit/store.ts";
import { refuseDuplicates } from "../database/constraints.ts";
import { newId } from "../database/new_id.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import type { App } from "../http/app_type.ts";
import { requireBrowserSession } from "../http/authenticate.ts";
import type { UserCaller } from "../http/caller.ts";
import { pageOf, readCursor } from "../http/page.ts";
import { route } from "../http/route.ts";
import { checkRule } from "./check_permission.ts";
import { readGrantsOfPermissions } from "./read_grants.ts";
import { refuseBeyond } from "./refuse_beyond.ts";
import type { Scope } from "./scope.ts";
import * as store from "./store.ts";

const DUPLICATES = { permissions_name: ["name", "another permission has this name"] } as const;

/** Permissions, of which roles are made, and what one may do oneself. */
export function mountPermissions(app: App, { db }: { readonly db: Kysely<Database> }): void {
  route(app, listMyPermissions, (_input, { caller }) => ({
    items: [...caller.grants].map(([name, scope]) => grantOf(name, scope)),
  }));

  route(app, listPermissions, async ({ query: { limit, cursor } }) => {
    const after = readCursor(cursor, PermissionId);
    const rows = await store.selectPermissions(db, { after, limit: limit + 1 });
    return pageOf(rows, limit, { item: permissionOf, position: (row) => row.id });
  });

  route(app, getPermission, async ({ params: { permissionId } }) => {
    return permissionOf(await readPermission(db, permissionId));
  });

  route(app, createPermission, async ({ body }, context) => {
    requireBrowserSession(context.caller);
    const id = newId<PermissionId>();
    const { selector, ...fields } = body;
    await refuseDuplicates(DUPLICATES, () =>
      inTransaction(db, async (tx) => {
        await checkRule(tx, body);
        await store.insertPermission(tx, { ...fields, ...placesOf(selector), id });
        await refuseBeyondOwn(tx, id, context.caller);
        const entry = { action: "permission.create", target: { kind: "permission", id } };
        await writeAudit(tx, { ...entry, actor: actorOf(context), detail: body });
      }));
    return permissionOf(await readPermission(db, id));
  });

  route(app, updatePermission, async ({ params: { permissionId: id }, body }, context) => {
    requireBrowserSession(context.caller);
    await refuseDuplicates(DUPLICATES, () =>
      inTransaction(db, async (tx) => {
        const before = permissionOf(await readChangeable(tx, id, context.caller));
        const { selector, ...fields } = body;
        if (selector !== undefined || body.actions) {
          await checkRule(tx, { ...before, ...given(body) });
        }
        const places = selector === undefined ? {} : placesOf(selector);
        await store.updatePermission(tx, id, { ...given(fields), ...places });
        await refuseBeyondOwn(tx, id, context.caller);
        const entry = { action: "permission.update", target: { kind: "permission", id } };
        const detail = changedFields(before, body);
        await writeAudit(tx, { ...entry, actor: actorOf(context), detail });
      }));
    return permissionOf(await readPermission(db, id));
  });

  route(app, deletePermission, async ({ params: { permissionId: id } }, context) => {
    requireBrowserSession(context.caller);
    await refuseDuplicates({}, () =>
      inTransaction(db, async (tx) => {
        const { name } = await readChangeable(tx, id, context.caller);
        await store.deletePermission(tx, id);
        const entry = { action: "permission.delete", target: { kind: "permission", id } };
        await writeAudit(tx, { ...entry, actor: actorOf(context), detail: { name } });
      }));
  });
}

/** A permission that may be changed by this caller; nobody else changes it before the transaction ends. */
async function readChangeable(tx: Transaction<Database>, id: PermissionId, caller: UserCaller) {
  await store.lockPermission(tx, id);
  const permission = await readPermission(tx, id);
  if (permission.builtIn) {
    const detail = "This permission is built in and stays as it is; make another.";
    throw new ProblemError("conflict", detail);
  }
  await refuseBeyondOwn(tx, id, caller);
  return permission;
}

async function refuseBeyondOwn(
  tx: Transaction<Database>,
  id: PermissionId,
  caller: UserCaller,
): Promise<void> {
  refuseBeyond(caller, await readGrantsOfPermissions(tx, [id]), "This permission");
}

async function readPermission(db: Kysely<Database>, permissionId: PermissionId) {
  const [row] = await store.selectPermissions(db, { permissionId, limit: 1 });
  if (!row) throw new ProblemError("not-found", "There is no such permission.");
  return row;
}

function placesOf(selector: Selector | null) {
  if (selector === null) return { tenantIds: null, siteIds: null };
  return { tenantIds: selector.tenantIds, siteIds: selector.siteIds };
}

function permissionOf({ tenantIds, siteIds, ...row }: store.PermissionRecord) {
  const selector = tenantIds === null || siteIds === null
    ? null
    : { tenantIds: tenantIds as TenantId[], siteIds: siteIds as SiteId[] };
  return { ...row, selector, createdAt: row.createdAt.toString() };
}

function grantOf(permission: keyof typeof PERMISSIONS, scope: Scope): Grant {
  return {
    permission,
    description: PERMISSIONS[permission],
    everywhere: scope.all,
    tenantIds: scope.all ? [] : [...scope.tenantIds ?? []],
    siteIds: scope.all ? [] : [...scope.siteIds],
  };
}

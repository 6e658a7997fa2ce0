import type { Kysely, Transaction } from "kysely";
import {
  createRole,
  deleteRole,
  getRole,
  listRoles,
  updateRole,
} from "@rookery/shared/api/roles.ts";
import { type PermissionId, RoleId } from "@rookery/shared/ids.ts";
import { ProblemError, refusedField } from "@rookery/shared/problem.ts";
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
import { readGrantsOfPermissions } from "../permissions/read_grants.ts";
import { refuseBeyond } from "../permissions/refuse_beyond.ts";
import { selectUnknownPermissions } from "../permissions/store.ts";
import * as store from "./store.ts";

const DUPLICATES = { roles_name: ["name", "another role has this name"] } as const;

/** Roles: sets of permissions. Like tokens and users they are made by a person, who must be there. */
export function mountRoles(app: App, { db }: { readonly db: Kysely<Database> }): void {
  route(app, listRoles, async ({ query: { limit, cursor } }) => {
    const after = readCursor(cursor, RoleId);
    const rows = await store.selectRoles(db, { after, limit: limit + 1 });
    return pageOf(rows, limit, { item: roleOf, position: (row) => row.id });
  });

  route(app, getRole, async ({ params: { roleId } }) => roleOf(await readRole(db, roleId)));

  route(app, createRole, async ({ body }, context) => {
    requireBrowserSession(context.caller);
    const id = newId<RoleId>();
    const { permissionIds, ...fields } = body;
    await refuseDuplicates(DUPLICATES, () =>
      inTransaction(db, async (tx) => {
        await store.insertRole(tx, { ...fields, id });
        await givePermissions(tx, { id, permissionIds, caller: context.caller });
        const entry = { action: "role.create", target: { kind: "role", id } };
        await writeAudit(tx, { ...entry, actor: actorOf(context), detail: body });
      }));
    return roleOf(await readRole(db, id));
  });

  route(app, updateRole, async ({ params: { roleId: id }, body }, context) => {
    requireBrowserSession(context.caller);
    const { permissionIds, ...fields } = body;
    await refuseDuplicates(DUPLICATES, () =>
      inTransaction(db, async (tx) => {
        const before = await readChangeable(tx, id, context.caller);
        await store.updateRole(tx, id, given(fields));
        if (permissionIds) {
          await givePermissions(tx, { id, permissionIds, caller: context.caller });
        }
        const entry = { action: "role.update", target: { kind: "role", id } };
        const detail = changedFields(roleOf(before), body);
        await writeAudit(tx, { ...entry, actor: actorOf(context), detail });
      }));
    return roleOf(await readRole(db, id));
  });

  route(app, deleteRole, async ({ params: { roleId: id } }, context) => {
    requireBrowserSession(context.caller);
    await refuseDuplicates({}, () =>
      inTransaction(db, async (tx) => {
        const { name } = await readChangeable(tx, id, context.caller);
        await store.deleteRole(tx, id);
        const entry = { action: "role.delete", target: { kind: "role", id } };
        await writeAudit(tx, { ...entry, actor: actorOf(context), detail: { name } });
      }));
  });
}

interface WantedPermissions {
  readonly id: RoleId;
  readonly permissionIds: readonly PermissionId[];
  readonly caller: UserCaller;
}

async function givePermissions(
  tx: Transaction<Database>,
  { id, permissionIds, caller }: WantedPermissions,
): Promise<void> {
  const [unknown] = await selectUnknownPermissions(tx, permissionIds);
  if (unknown !== undefined) {
    const detail = "there is no such permission";
    const pointer = `#/permissionIds/${permissionIds.indexOf(unknown)}`;
    throw refusedField(pointer, detail);
  }
  const wanted = await readGrantsOfPermissions(tx, permissionIds);
  refuseBeyond(caller, wanted, "One of the permissions");
  await store.replacePermissions(tx, { id, permissionIds });
}

/** A role that may be changed by this caller; nobody else changes it before the transaction ends. */
async function readChangeable(tx: Transaction<Database>, roleId: RoleId, caller: UserCaller) {
  await store.lockRole(tx, roleId);
  const role = await readRole(tx, roleId);
  if (role.builtIn) {
    throw new ProblemError("conflict", "This role is built in and stays as it is; make another.");
  }
  refuseBeyond(caller, await readGrantsOfPermissions(tx, role.permissionIds), "This role");
  return role;
}

async function readRole(db: Kysely<Database>, roleId: RoleId) {
  const [row] = await store.selectRoles(db, { roleId, limit: 1 });
  if (!row) throw new ProblemError("not-found", "There is no such role.");
  return row;
}

function roleOf(row: store.RoleRow) {
  return { ...row, createdAt: row.createdAt.toString() };
}

import type { Action } from "@rookery/shared/api/access.ts";
import { createPermission, type Selector } from "@rookery/shared/api/permissions.ts";
import { createRole } from "@rookery/shared/api/roles.ts";
import { createUser } from "@rookery/shared/api/users.ts";
import type { PermissionId, RoleId, UserId } from "@rookery/shared/ids.ts";
import { ADMINISTRATOR, type Person, type TestControlPlane } from "./control_plane.ts";

/** A person who is logged in, and what they were given. */
export interface MadePerson extends Person {
  readonly userId: UserId;
  readonly roleId: RoleId;
  readonly permissionId: PermissionId;
}

/**
 * A user with a role of one permission; `name` must be free for all three. The password is that of the administrator, which
 * is hashed but once.
 */
export async function makePerson(
  plane: TestControlPlane,
  { name, actions, selector = null }: {
    readonly name: string;
    readonly actions: Action[];
    readonly selector?: Partial<Selector> | null;
  },
): Promise<MadePerson> {
  const admin = await plane.administrator();
  const permission = await admin.call(createPermission, { body: { name, actions, selector } });
  const role = await admin.call(createRole, { body: { name, permissionIds: [permission.id] } });
  const { password } = ADMINISTRATOR;
  const body = { username: name, password, roleIds: [role.id] };
  const user = await admin.call(createUser, { body });
  const person = await plane.logIn(name, password);
  return {
    ...person,
    userId: user.id,
    roleId: role.id,
    permissionId: permission.id,
  };
}

import type { Transaction } from "kysely";
import type { RoleId, UserId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { readRoleMapping } from "@rookery/shared/settings/oidc.ts";
import { type Actor, writeAudit } from "../audit/store.ts";
import { changedFields } from "../audit/changed_fields.ts";
import type { Database } from "../database/schema.ts";
import { ADMINISTRATOR_ROLE } from "../roles/built_in.ts";
import { refuseNoAdministrator } from "../users/change_user.ts";
import {
  changeUser,
  findUser,
  findUserByName,
  insertUser,
  lockAdministrators,
  replaceRoles,
  type ShownUser,
} from "../users/store.ts";
import type { ProviderPerson } from "./read_person.ts";
import { findRoles, findUserOf, insertIdentity, isEmailTaken } from "./store.ts";

export interface SignIn {
  readonly issuer: string;
  readonly person: ProviderPerson;
  /** The setting `oidc.roles`. */
  readonly mapping: string;
  readonly actor: Actor;
}

/**
 * The user that a person at a provider is here, made at their first sign-in, with the roles of their groups as these are
 * now. A user who exists already is never taken over by name or address: whoever may choose those at the provider could
 * become anybody.
 */
export async function signInUser(
  tx: Transaction<Database>,
  signIn: SignIn,
): Promise<ShownUser> {
  await lockAdministrators(tx);
  const roleIds = await rolesOf(tx, signIn);
  const { issuer, person: { subject } } = signIn;
  const known = await findUserOf(tx, { issuer, subject });
  const before = known === undefined ? await makeUser(tx, signIn) : await readUser(tx, known);
  if (before.disabledAt !== null) refuse("An administrator has disabled you here.");
  await giveRoles(tx, before.id, roleIds);
  const after = await readUser(tx, before.id);
  await audit(tx, signIn, { before, after });
  return after;
}

async function rolesOf(
  tx: Transaction<Database>,
  { person: { groups }, mapping }: SignIn,
): Promise<readonly RoleId[]> {
  const pairs = readRoleMapping(mapping) ?? [];
  const names = pairs.flatMap(([group, role]) => groups.includes(group) ? [role] : []);
  const roleIds = await findRoles(tx, names);
  if (roleIds.length === 0) refuse("None of your groups at the OpenID provider has a role here.");
  return roleIds;
}

async function makeUser(tx: Transaction<Database>, { issuer, person }: SignIn): Promise<ShownUser> {
  const { username, displayName, subject } = person;
  if (await findUserByName(tx, username)) {
    refuse(`There is another user with the name ${username}; ask an administrator to rename it.`);
  }
  const email = person.email !== null && await isEmailTaken(tx, person.email) ? null : person.email;
  const names = { username, displayName, email };
  const user = await insertUser(tx, { ...names, passwordHash: null, administrator: false });
  await insertIdentity(tx, { issuer, subject, userId: user.id });
  return user;
}

async function giveRoles(
  tx: Transaction<Database>,
  id: UserId,
  roleIds: readonly RoleId[],
): Promise<void> {
  await replaceRoles(tx, { id, roleIds });
  await changeUser(tx, id, { administrator: roleIds.includes(ADMINISTRATOR_ROLE) });
  await refuseNoAdministrator(tx);
}

async function audit(
  tx: Transaction<Database>,
  { actor, issuer, person }: SignIn,
  { before, after }: { readonly before: ShownUser; readonly after: ShownUser },
): Promise<void> {
  const changed = changedFields({ roleIds: before.roleIds }, { roleIds: after.roleIds });
  if (Object.keys(changed.after).length === 0) return;
  const detail = { ...changed, issuer, subject: person.subject };
  const target = { kind: "user", id: after.id };
  await writeAudit(tx, { actor, action: "user.sign_in_by_oidc", target, detail });
}

async function readUser(tx: Transaction<Database>, id: UserId): Promise<ShownUser> {
  const user = await findUser(tx, id);
  return user ?? refuse("Your user was deleted at this moment.");
}

function refuse(detail: string): never {
  throw new ProblemError("sign-in-refused", detail);
}

import type { Transaction } from "kysely";
import type { RoleId, UserId } from "@rookery/shared/ids.ts";
import { ProblemError, refusedField } from "@rookery/shared/problem.ts";
import { revokeApiTokensOf } from "../api_tokens/store.ts";
import type { Database } from "../database/schema.ts";
import type { UserCaller } from "../http/caller.ts";
import { readGrants, readGrantsOfRoles } from "../permissions/read_grants.ts";
import { refuseBeyond } from "../permissions/refuse_beyond.ts";
import { ADMINISTRATOR_ROLE } from "../roles/built_in.ts";
import { selectUnknownRoles } from "../roles/store.ts";
import { deleteSessionsOf } from "../sessions/store.ts";
import {
  changeUser,
  findUser,
  hasAdministrator,
  lockAdministrators,
  replaceRoles,
  type ShownUser,
  type UserChange,
} from "./store.ts";

/** Who a user shall be. */
export interface WantedUser extends UserChange {
  readonly roleIds?: readonly RoleId[] | undefined;
}

export interface WantedChange {
  readonly before: ShownUser;
  readonly change: WantedUser;
  readonly caller: UserCaller;
}

/**
 * The user that is to be changed or deleted. Decisions about users wait for each other: of two administrators who disable
 * each other one must be told that they are the last. Nobody touches a user who may do more than they do themselves.
 */
export async function readManaged(
  tx: Transaction<Database>,
  userId: UserId,
  caller: UserCaller,
): Promise<ShownUser> {
  await lockAdministrators(tx);
  const user = await findUser(tx, userId);
  if (!user) throw new ProblemError("not-found", "There is no such user.");
  refuseBeyond(caller, await readGrants(tx, userId), "This user");
  return user;
}

/** Changes a user who was read by `readManaged`. */
export async function applyChange(
  tx: Transaction<Database>,
  { before, change, caller }: WantedChange,
): Promise<void> {
  await giveRoles(tx, { before, change, caller });
  const { administrator: _given, roleIds: _replaced, ...fields } = change;
  await changeUser(tx, before.id, fields);
  if (change.disabled) {
    await deleteSessionsOf(tx, before.id);
    await revokeApiTokensOf(tx, before.id);
  }
  await refuseNoAdministrator(tx);
}

/** Makes somebody an administrator or not, and gives them roles, as far as the caller may do what comes with it. */
export async function giveRoles(
  tx: Transaction<Database>,
  { before, change: { administrator: wanted, roleIds }, caller }: WantedChange,
): Promise<void> {
  const administrator = wanted ?? roleIds?.includes(ADMINISTRATOR_ROLE);
  if (wanted === false && roleIds?.includes(ADMINISTRATOR_ROLE)) {
    throw refused("administrator", "contradicts roleIds, which name the role of administrators");
  }
  if (administrator) {
    const everything = await readGrantsOfRoles(tx, [ADMINISTRATOR_ROLE]);
    refuseBeyond(caller, everything, "An administrator");
  }
  if (roleIds) {
    await refuseUnknown(tx, roleIds);
    refuseBeyond(caller, await readGrantsOfRoles(tx, roleIds), "One of the roles");
    await replaceRoles(tx, { id: before.id, roleIds });
  }
  if (administrator !== undefined) await changeUser(tx, before.id, { administrator });
}

/** After each change: somebody must be able to administer this installation. */
export async function refuseNoAdministrator(tx: Transaction<Database>): Promise<void> {
  if (await hasAdministrator(tx)) return;
  throw new ProblemError("in-use", "This is the last administrator; make another one first.");
}

async function refuseUnknown(tx: Transaction<Database>, roleIds: readonly RoleId[]): Promise<void> {
  const [unknown] = await selectUnknownRoles(tx, roleIds);
  if (unknown === undefined) return;
  throw refused(`roleIds/${roleIds.indexOf(unknown)}`, "there is no such role");
}

function refused(field: string, detail: string): ProblemError {
  return refusedField(`#/${field}`, detail);
}

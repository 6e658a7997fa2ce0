import { type Kysely, type Selectable, sql, type Transaction } from "kysely";
import type { RoleId, UserId } from "@rookery/shared/ids.ts";
import type { User } from "@rookery/shared/api/users.ts";
import { given } from "../audit/changed_fields.ts";
import type { Duplicates } from "../database/constraints.ts";
import { newId } from "../database/new_id.ts";
import type { Database, UsersTable } from "../database/schema.ts";
import { ADMINISTRATOR_ROLE } from "../roles/built_in.ts";
import { hasSecondFactor, mustEnrol } from "../second_factor/store.ts";
import { lockedUntilOf } from "../sessions/failure_store.ts";
import { canonicalUsername } from "./username.ts";

export type UserRow = Selectable<UsersTable>;
/** A user with the roles that they have, whether they are locked, and what they have of a second factor. */
export type ShownUser = UserRow & {
  readonly roleIds: RoleId[];
  readonly lockedUntil: Temporal.Instant | null;
  readonly hasSecondFactor: boolean;
  readonly mustEnrol: boolean;
};

/** The roles of the user in the row `users`; that of administrators stands in no row of its own. */
export const roleIdsOf = sql<RoleId[]>`array(
    select ${ADMINISTRATOR_ROLE}::uuid where users.administrator
    union all
    (select role_id from user_roles where user_id = users.id order by role_id))`;

const shown = [
  roleIdsOf.as("roleIds"),
  lockedUntilOf.as("lockedUntil"),
  hasSecondFactor.as("hasSecondFactor"),
  mustEnrol.as("mustEnrol"),
] as const;

/** A user as the wire has it. */
export function toUser(row: ShownUser): User {
  return {
    id: row.id,
    username: row.username,
    displayName: row.displayName,
    email: row.email,
    administrator: row.administrator,
    roleIds: row.roleIds,
    disabledAt: row.disabledAt?.toString() ?? null,
    mustChangePassword: row.mustChangePassword,
    hasSecondFactor: row.hasSecondFactor,
    lockedUntil: row.lockedUntil?.toString() ?? null,
    createdAt: row.createdAt.toString(),
  };
}

export function findUser(db: Kysely<Database>, id: UserId): Promise<ShownUser | undefined> {
  return selectShown(db).where("id", "=", id).executeTakeFirst();
}

export function findUserByName(
  db: Kysely<Database>,
  username: string,
): Promise<ShownUser | undefined> {
  return selectShown(db)
    .where(sql<string>`lower(username collate "C")`, "=", canonicalUsername(username))
    .executeTakeFirst();
}

/** Users in the order in which they were made. */
export function selectUsers(
  db: Kysely<Database>,
  { after, limit }: { readonly after: UserId | undefined; readonly limit: number },
): Promise<ShownUser[]> {
  return selectShown(db)
    .$if(after !== undefined, (query) => query.where("id", ">", after as UserId))
    .orderBy("id").limit(limit).execute();
}

function selectShown(db: Kysely<Database>) {
  return db.selectFrom("users").selectAll().select(shown);
}

/** What a user shares with nobody, for `refuseDuplicates`. */
export const DUPLICATES: Duplicates = {
  users_username: ["username", "there is a user with this name already"],
  users_email: ["email", "another user has this address"],
};

export interface NewUser {
  readonly username: string;
  readonly displayName: string;
  readonly email?: string | null | undefined;
  readonly administrator: boolean;
  /** None for whoever signs in at an OpenID provider. */
  readonly passwordHash: string | null;
  readonly mustChangePassword?: boolean | undefined;
}

/** Adds a user; fails by one of `DUPLICATES`. */
export function insertUser(
  db: Kysely<Database>,
  { email = null, mustChangePassword = false, ...user }: NewUser,
): Promise<ShownUser> {
  const held = { disabledAt: null, email, mustChangePassword };
  return db.insertInto("users").values({ id: newId(), ...held, ...user })
    .returningAll().returning(shown).executeTakeFirstOrThrow();
}

export interface UserChange {
  readonly username?: string | undefined;
  readonly displayName?: string | undefined;
  readonly email?: string | null | undefined;
  readonly administrator?: boolean | undefined;
  readonly disabled?: boolean | undefined;
}

export async function changeUser(
  tx: Transaction<Database>,
  id: UserId,
  { disabled, ...change }: UserChange,
): Promise<void> {
  await tx.updateTable("users").set({
    updatedAt: sql`now()`,
    ...given(change),
    ...(disabled === undefined
      ? {}
      : { disabledAt: disabled ? sql`coalesce(disabled_at, now())` : null }),
  }).where("id", "=", id).execute();
}

/** Gives a user these roles and no others; the role of administrators is none of them. */
export async function replaceRoles(
  tx: Transaction<Database>,
  { id, roleIds }: { readonly id: UserId; readonly roleIds: readonly RoleId[] },
): Promise<void> {
  const wanted = sql`${roleIds.filter((roleId) => roleId !== ADMINISTRATOR_ROLE)}::uuid[]`;
  await sql`
    with taken as (delete from user_roles where user_id = ${id} and role_id <> all(${wanted}))
    insert into user_roles (user_id, role_id) select ${id}, unnest(${wanted})
    on conflict do nothing`.execute(tx);
}

/** Deletes a user; sessions, API tokens and roles go along. */
export async function deleteUser(tx: Transaction<Database>, id: UserId): Promise<void> {
  await tx.deleteFrom("users").where("id", "=", id).execute();
}

export interface NewPasswordHash {
  readonly passwordHash: string;
  /** Whether it is good for nothing but to choose another one. */
  readonly mustChangePassword: boolean;
  /** Set it only where the hash is still this one: somebody may have set another one meanwhile. */
  readonly replacing?: string | null;
}

/** Sets a password; false when the user is gone or `replacing` is not the hash any more. */
export async function setPassword(
  tx: Transaction<Database>,
  id: UserId,
  { passwordHash, mustChangePassword, replacing }: NewPasswordHash,
): Promise<boolean> {
  const set = { passwordHash, mustChangePassword };
  const { numUpdatedRows } = await tx.updateTable("users")
    .set({ ...set, passwordChangedAt: sql`now()`, updatedAt: sql`now()` }).where("id", "=", id)
    .$if(
      replacing !== undefined,
      (query) => query.where(sql<boolean>`password_hash is not distinct from ${replacing ?? null}`),
    )
    .executeTakeFirst();
  return numUpdatedRows > 0n;
}

/** From now on a user has to choose a new password first. */
export async function demandNewPassword(tx: Transaction<Database>, id: UserId): Promise<void> {
  await tx.updateTable("users").set({ mustChangePassword: true, updatedAt: sql`now()` })
    .where("id", "=", id).execute();
}

/** Whether somebody can administer this installation. */
export async function hasAdministrator(db: Kysely<Database>): Promise<boolean> {
  const row = await db.selectFrom("users").select("id").where("administrator", "=", true)
    .where("disabledAt", "is", null).limit(1).executeTakeFirst();
  return row !== undefined;
}

/**
 * Lets one transaction at a time decide about administrators: two setups cannot both be the first, and two people
 * cannot disable each other as the last.
 */
export async function lockAdministrators(tx: Transaction<Database>): Promise<void> {
  await tx.selectFrom("installation").select("id").forUpdate().execute();
}

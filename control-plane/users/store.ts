import { type Kysely, type Selectable, sql, type Transaction } from "kysely";
import type { UserId } from "@rookery/shared/ids.ts";
import type { User } from "@rookery/shared/api/users.ts";
import { newId } from "../database/new_id.ts";
import type { Database, UsersTable } from "../database/schema.ts";
import { canonicalUsername } from "./username.ts";

export type UserRow = Selectable<UsersTable>;

/** A user as the wire has it. */
export function toUser(row: UserRow): User {
  return {
    id: row.id,
    username: row.username,
    displayName: row.displayName,
    administrator: row.administrator,
    disabledAt: row.disabledAt?.toString() ?? null,
    createdAt: row.createdAt.toString(),
  };
}

export function findUser(db: Kysely<Database>, id: UserId): Promise<UserRow | undefined> {
  return db.selectFrom("users").selectAll().where("id", "=", id).executeTakeFirst();
}

export function findUserByName(
  db: Kysely<Database>,
  username: string,
): Promise<UserRow | undefined> {
  return db.selectFrom("users").selectAll()
    .where(sql<string>`lower(username collate "C")`, "=", canonicalUsername(username))
    .executeTakeFirst();
}

/** Users in the order in which they were made. */
export function selectUsers(
  db: Kysely<Database>,
  { after, limit }: { readonly after: UserId | undefined; readonly limit: number },
): Promise<UserRow[]> {
  return db.selectFrom("users").selectAll()
    .$if(after !== undefined, (query) => query.where("id", ">", after as UserId))
    .orderBy("id").limit(limit).execute();
}

export interface NewUser {
  readonly username: string;
  readonly displayName: string;
  readonly administrator: boolean;
  readonly passwordHash: string;
}

/** Adds a user; undefined when the name is taken. */
export function insertUser(
  db: Kysely<Database>,
  user: NewUser,
): Promise<UserRow | undefined> {
  return db.insertInto("users").values({ id: newId(), disabledAt: null, ...user })
    .onConflict((conflict) => conflict.doNothing()).returningAll().executeTakeFirst();
}

export interface UserChange {
  readonly displayName?: string | undefined;
  readonly administrator?: boolean | undefined;
  readonly disabled?: boolean | undefined;
}

export function changeUser(
  tx: Transaction<Database>,
  id: UserId,
  { displayName, administrator, disabled }: UserChange,
): Promise<UserRow | undefined> {
  return tx.updateTable("users").set({
    updatedAt: sql`now()`,
    ...(displayName === undefined ? {} : { displayName }),
    ...(administrator === undefined ? {} : { administrator }),
    ...(disabled === undefined
      ? {}
      : { disabledAt: disabled ? sql`coalesce(disabled_at, now())` : null }),
  }).where("id", "=", id).returningAll().executeTakeFirst();
}

export async function setPassword(
  tx: Transaction<Database>,
  id: UserId,
  passwordHash: string,
): Promise<void> {
  await tx.updateTable("users")
    .set({ passwordHash, passwordChangedAt: sql`now()`, updatedAt: sql`now()` })
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

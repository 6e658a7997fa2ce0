import { z } from "zod";
import { endpoint } from "../endpoint.ts";
import { Instant, RoleId, UserId } from "../ids.ts";
import { BROKEN_TEXT, isWhole, listOf, Page, text } from "./page.ts";

/** What people log in with; upper and lower case are the same. */
export const Username = z.string().min(1).max(64).regex(
  /^[A-Za-z0-9][A-Za-z0-9._@-]*$/,
  "must be letters, digits and . _ @ -, and begin with a letter or digit",
).meta({ id: "Username", example: "anna" });

/** Where people are written to; upper and lower case are the same, and nobody shares one. */
export const EmailAddress = z.email("must be an address such as anna@example.org").max(254)
  .meta({ id: "EmailAddress", example: "anna@example.org" });

/** What people are called. */
export const DisplayName = text(100).meta({ example: "Anna Berg" });

/** Long enough to withstand guessing (NIST SP 800-63B asks for length, not for kinds of characters). */
export const NewPassword = z.string().min(12, "must have at least 12 characters").max(256)
  .refine((password) => !password.includes("\0"), "must not contain control characters")
  .refine(isWhole, BROKEN_TEXT)
  .refine((password) => new Set(password).size >= 5, "must have at least 5 different characters")
  .meta({ id: "NewPassword", format: "password", example: "four words of yours" });

export const User = z.object({
  id: UserId,
  username: z.string(),
  displayName: z.string(),
  email: z.string().nullable(),
  administrator: z.boolean(),
  /** The built-in role of administrators is among them exactly for administrators. */
  roleIds: z.array(RoleId),
  disabledAt: Instant.nullable(),
  /** They have to choose a new password before they or their API tokens do anything else. */
  mustChangePassword: z.boolean(),
  /** Their logins ask for a code. */
  hasSecondFactor: z.boolean(),
  /** Too many wrong passwords: until then nobody logs in by this name but from browsers that did so before. */
  lockedUntil: Instant.nullable(),
  createdAt: Instant,
}).meta({ id: "User" });
export type User = z.infer<typeof User>;

/** The roles that a user has, instead of those before. With the role of administrators, the user is one. */
const RoleIds = z.array(RoleId).max(100);

const UserParams = z.strictObject({ userId: UserId });

export const listUsers = endpoint({
  method: "GET",
  path: "/api/v1/users",
  access: "users:read",
  summary: "List users",
  query: Page,
  reply: listOf(User),
});

export const getUser = endpoint({
  method: "GET",
  path: "/api/v1/users/:userId",
  access: "users:read",
  summary: "Read one user",
  params: UserParams,
  reply: User,
});

export const createUser = endpoint({
  method: "POST",
  path: "/api/v1/users",
  access: "users:write",
  summary: "Create a user",
  body: z.strictObject({
    username: Username,
    displayName: DisplayName.default(""),
    email: EmailAddress.nullable().optional(),
    password: NewPassword,
    mustChangePassword: z.boolean().optional(),
    administrator: z.boolean().optional(),
    roleIds: RoleIds.optional(),
  }),
  reply: User,
  status: 201,
});

export const updateUser = endpoint({
  method: "PATCH",
  path: "/api/v1/users/:userId",
  access: "users:write",
  summary: "Change, rename, disable or enable a user; disabling ends every session and API token",
  params: UserParams,
  body: z.strictObject({
    username: Username.optional(),
    displayName: DisplayName.optional(),
    email: EmailAddress.nullable().optional(),
    administrator: z.boolean().optional(),
    roleIds: RoleIds.optional(),
    disabled: z.boolean().optional(),
  }),
  reply: User,
});

export const resetPassword = endpoint({
  method: "POST",
  path: "/api/v1/users/:userId/password",
  access: "users:write",
  summary: "Give somebody else a new password; their sessions end",
  params: UserParams,
  body: z.strictObject({
    password: NewPassword,
    /** Whether it is good for nothing but to choose one that only they know. */
    mustChangePassword: z.boolean().default(true),
  }),
});

export const demandPasswordChange = endpoint({
  method: "POST",
  path: "/api/v1/users/:userId/password-demand",
  access: "users:write",
  summary: "Let a user and their API tokens do nothing until they have chosen a new password",
  params: UserParams,
});

export const unlockUser = endpoint({
  method: "POST",
  path: "/api/v1/users/:userId/unlock",
  access: "users:write",
  summary: "Let a user log in again at once who is locked after too many wrong passwords",
  params: UserParams,
});

export const deleteUser = endpoint({
  method: "DELETE",
  path: "/api/v1/users/:userId",
  access: "users:write",
  summary: "Delete a user with their sessions and API tokens; what they did stays in the audit log",
  params: UserParams,
});

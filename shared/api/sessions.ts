import { z } from "zod";
import { endpoint } from "../endpoint.ts";
import { id, Instant, UserId } from "../ids.ts";
import { Due, Permission } from "./access.ts";
import { BROKEN_TEXT, isWhole, text } from "./page.ts";
import { NewPassword, User } from "./users.ts";

export const SessionId = id("SessionId");
export type SessionId = z.infer<typeof SessionId>;

/** Who is calling, and what they may do. */
export const Me = z.object({
  user: User,
  permissions: z.array(Permission),
  via: z.enum(["session", "api_token"]),
  /** What has to be done first: until then there is nothing but to see this, to do that, and to log out. */
  due: Due.nullable(),
}).meta({ id: "Me" });
export type Me = z.infer<typeof Me>;

/** One browser in which a person is logged in. */
export const Session = z.object({
  id: SessionId,
  current: z.boolean(),
  userAgent: z.string(),
  address: z.string(),
  createdAt: Instant,
  lastUsedAt: Instant,
  expiresAt: Instant,
}).meta({ id: "Session" });
export type Session = z.infer<typeof Session>;

/** A password as it is sent to be checked: only its length is limited, so that nothing is told about the right one. */
export const GivenPassword = z.string().min(1).max(256)
  .refine((password) => !password.includes("\0"), "must not contain control characters")
  .refine(isWhole, BROKEN_TEXT).meta({ format: "password", example: "four words of yours" });

export const login = endpoint({
  method: "POST",
  path: "/api/v1/login",
  access: "public",
  summary: "Log in; the reply sets the session cookie, and says what is due first, such as a code",
  body: z.strictObject({
    username: text(64).min(1).meta({ example: "anna" }),
    password: GivenPassword,
  }),
  reply: Me,
});

export const logout = endpoint({
  method: "POST",
  path: "/api/v1/logout",
  access: "session",
  whileDue: Due.options,
  summary: "End this session",
});

export const getMe = endpoint({
  method: "GET",
  path: "/api/v1/me",
  access: "session",
  whileDue: Due.options,
  summary: "Read who is calling and what they may do",
  reply: Me,
});

export const changePassword = endpoint({
  method: "POST",
  path: "/api/v1/me/password",
  access: "session",
  whileDue: ["new_password"],
  summary: "Change one's own password; every other session ends",
  body: z.strictObject({ currentPassword: GivenPassword, newPassword: NewPassword }),
});

export const listSessions = endpoint({
  method: "GET",
  path: "/api/v1/me/sessions",
  access: "session",
  summary: "List one's own sessions",
  reply: z.object({ items: z.array(Session) }),
});

export const revokeSession = endpoint({
  method: "DELETE",
  path: "/api/v1/me/sessions/:sessionId",
  access: "session",
  summary: "End one of one's own sessions",
  params: z.strictObject({ sessionId: SessionId }),
});

export const listUserSessions = endpoint({
  method: "GET",
  path: "/api/v1/users/:userId/sessions",
  access: "users:read",
  summary: "List where a user is logged in",
  params: z.strictObject({ userId: UserId }),
  reply: z.object({ items: z.array(Session) }),
});

export const revokeUserSessions = endpoint({
  method: "DELETE",
  path: "/api/v1/users/:userId/sessions",
  access: "users:write",
  summary: "End every session of a user; they can log in again",
  params: z.strictObject({ userId: UserId }),
});

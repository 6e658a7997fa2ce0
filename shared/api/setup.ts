import { z } from "zod";
import { endpoint } from "../endpoint.ts";
import { Me } from "./sessions.ts";
import { DisplayName, NewPassword, Username } from "./users.ts";

/** The secret of a one-time link; it travels in the link's fragment, which no server and no log ever sees. */
export const SetupToken = z.string().regex(/^rku_[A-Za-z0-9_-]{43}$/, "is no setup link of ours")
  .meta({ example: `rku_${"A".repeat(43)}` });
/** The same for `admin:recover`. */
export const RecoveryToken = z.string().regex(
  /^rkr_[A-Za-z0-9_-]{43}$/,
  "is no recovery link of ours",
).meta({ example: `rkr_${"A".repeat(43)}` });

export const setUp = endpoint({
  method: "POST",
  path: "/api/v1/setup",
  access: "public",
  summary: "Make the first administrator with the setup link; the reply logs them in",
  body: z.strictObject({
    token: SetupToken,
    username: Username,
    displayName: DisplayName.default(""),
    password: NewPassword,
  }),
  reply: Me,
  status: 201,
});

export const recover = endpoint({
  method: "POST",
  path: "/api/v1/recovery",
  access: "public",
  summary: "Set a new password with a recovery link; every session and API token of the user ends",
  body: z.strictObject({ token: RecoveryToken, password: NewPassword }),
  reply: Me,
});

import { z } from "zod";
import { endpoint } from "../endpoint.ts";
import { Instant, UserId } from "../ids.ts";
import { GivenPassword, Me } from "./sessions.ts";

/** Six digits of an authenticator, or a recovery code; blanks, hyphens and capitals are how people write them. */
const Code = z.string().max(40).transform((code) => code.replaceAll(/[\s-]/g, "").toLowerCase())
  .pipe(z.string().regex(/^(\d{6}|[a-z2-7]{16})$/, "is neither six digits nor a recovery code"))
  .meta({ example: "123456" });

/** One's own second factor (RFC 6238). */
export const SecondFactor = z.object({
  /** `unconfirmed`: a secret was shown, and no code of it entered yet; until then no login asks for one. */
  state: z.enum(["off", "unconfirmed", "on"]),
  confirmedAt: Instant.nullable(),
  recoveryCodesLeft: z.int(),
  /** By the setting `security.second_factor`. */
  isDemanded: z.boolean(),
}).meta({ id: "SecondFactor" });
export type SecondFactor = z.infer<typeof SecondFactor>;

const RecoveryCodes = z.object({ recoveryCodes: z.array(z.string()) });

export const enterCode = endpoint({
  method: "POST",
  path: "/api/v1/login/code",
  access: "session",
  whileDue: ["second_factor"],
  summary: "Finish a login with the code of an authenticator, or a recovery code; each works once",
  body: z.strictObject({ code: Code }),
  reply: Me,
});

export const getSecondFactor = endpoint({
  method: "GET",
  path: "/api/v1/me/second-factor",
  access: "session",
  whileDue: ["second_factor_enrolment"],
  summary: "Read whether one's own logins ask for a code",
  reply: SecondFactor,
});

export const enrolSecondFactor = endpoint({
  method: "POST",
  path: "/api/v1/me/second-factor",
  access: "session",
  whileDue: ["second_factor_enrolment"],
  summary: "Make a secret for an authenticator; it is shown once, and asked for once confirmed",
  body: z.strictObject({ password: GivenPassword }),
  reply: z.object({
    /** What an authenticator scans: `otpauth://totp/…` */
    otpauthUrl: z.string(),
    /** The same to be typed, in base32. */
    secret: z.string(),
  }),
  status: 201,
});

export const confirmSecondFactor = endpoint({
  method: "POST",
  path: "/api/v1/me/second-factor/confirmation",
  access: "session",
  whileDue: ["second_factor_enrolment"],
  summary: "Switch one's own second factor on by a first code; every other session ends",
  body: z.strictObject({ code: Code }),
  reply: RecoveryCodes,
});

export const replaceRecoveryCodes = endpoint({
  method: "POST",
  path: "/api/v1/me/second-factor/recovery-codes",
  access: "session",
  summary: "Make new recovery codes for oneself; those before do not work any more",
  body: z.strictObject({ password: GivenPassword }),
  reply: RecoveryCodes,
});

export const removeSecondFactor = endpoint({
  method: "POST",
  path: "/api/v1/me/second-factor/removal",
  access: "session",
  summary: "Switch one's own second factor off",
  body: z.strictObject({ password: GivenPassword }),
});

export const resetSecondFactor = endpoint({
  method: "DELETE",
  path: "/api/v1/users/:userId/second-factor",
  access: "users:write",
  summary: "Switch somebody else's second factor off who has lost it; their sessions end",
  params: z.strictObject({ userId: UserId }),
});

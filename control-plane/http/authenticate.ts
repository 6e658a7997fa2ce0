import type { Access, Due } from "@rookery/shared/api/access.ts";
import { ProblemError, type ProblemType } from "@rookery/shared/problem.ts";
import type { AppContext, Authenticate } from "./app_type.ts";
import { type AgentCaller, can, type UserCaller } from "./caller.ts";
import type { SessionCookie } from "./cookie.ts";

/** Where the features say who somebody is. */
export interface Authenticators {
  readonly publicUrl: string;
  readonly cookie: SessionCookie;
  /** The person of a session cookie's value; undefined when it is unknown or over. */
  session(secret: string): Promise<UserCaller | undefined>;
  /** The person of an API token; undefined when it is unknown, over or revoked. */
  apiToken(secret: string): Promise<UserCaller | undefined>;
  /** The agent that signed the request; throws a ProblemError when none did. */
  agent(context: AppContext): Promise<AgentCaller>;
}

const SAFE_METHODS: readonly string[] = ["GET", "HEAD", "OPTIONS"];

/** Builds the check that stands before every endpoint. */
export function authenticateBy(by: Authenticators): Authenticate {
  return async (context, { access, whileDue }) => {
    if (access === "agent") return await by.agent(context);
    if (access === "public") {
      checkOrigin(context, by.publicUrl, "when-sent");
      return { kind: "anonymous" };
    }
    const caller = await personBehind(context, by);
    refuseDue(caller, whileDue);
    checkPermission(caller, access);
    return caller;
  };
}

async function personBehind(context: AppContext, by: Authenticators): Promise<UserCaller> {
  const authorization = context.req.header("authorization");
  if (authorization !== undefined) {
    const token = /^Bearer (rkt_[A-Za-z0-9_-]{43})$/i.exec(authorization)?.[1];
    const caller = token && await by.apiToken(token);
    if (caller) return caller;
    // A cookie beside a wrong token is not tried: the program meant the token.
    throw new ProblemError("session-required", "The API token is unknown, over or revoked.");
  }
  const secret = by.cookie.read(context);
  const caller = secret && await by.session(secret);
  if (!caller) throw new ProblemError("session-required", "Nobody is logged in, or no longer.");
  checkOrigin(context, by.publicUrl, "always");
  return caller;
}

/**
 * Against requests that another site makes a browser send (CSRF), beside SameSite: browsers name the page's origin with
 * every request that can change something. Where a cookie speaks for a person, the header must be there.
 */
function checkOrigin(
  context: AppContext,
  publicUrl: string,
  wanted: "always" | "when-sent",
): void {
  if (SAFE_METHODS.includes(context.req.raw.method)) return;
  const origin = context.req.header("origin");
  if (origin === undefined && wanted === "when-sent") return;
  const own = new URL(publicUrl).origin;
  if (origin === own) return;
  throw new ProblemError(
    "bad-origin",
    `The request must come from a page of ${own}, and carry its Origin header.`,
  );
}

/** Who has something to do first does nothing else, and nothing at all by a token. */
function refuseDue({ due, via }: UserCaller, whileDue: readonly Due[]): void {
  if (due === undefined || via.kind === "session" && whileDue.includes(due)) return;
  const [type, detail] = DUE_PROBLEMS[due];
  throw new ProblemError(type, detail);
}

const DUE_PROBLEMS = {
  second_factor: ["second-factor-required", "The password was right; the code is still to come."],
  second_factor_enrolment: [
    "second-factor-enrolment-required",
    "This installation demands a second factor of you, and you have none.",
  ],
  new_password: [
    "password-change-required",
    "An administrator demands a new password of you; until then your API tokens do nothing.",
  ],
} as const satisfies Record<Due, readonly [ProblemType, string]>;

function checkPermission(caller: UserCaller, access: Exclude<Access, "public" | "agent">): void {
  if (access === "session") return refuseLimited(caller);
  if (can(caller, access)) return;
  throw new ProblemError("forbidden", `The permission ${access} is needed.`);
}

/** What is open to whoever is logged in, such as one's own tokens, is the person's own affair. */
function refuseLimited({ via }: UserCaller): void {
  if (via.kind !== "api_token" || !via.isLimited) return;
  throw new ProblemError("forbidden", "This API token is good for its own permissions alone.");
}

/** Refuses an API token where a person must be present: a stolen token must not make itself permanent. */
export function requireBrowserSession(caller: UserCaller): string {
  if (caller.via.kind === "session") return caller.via.sessionId;
  throw new ProblemError("forbidden", "An API token cannot do this; log in with a browser.");
}

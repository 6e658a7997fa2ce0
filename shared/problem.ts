import { z } from "zod";

/** Every problem type the control plane can answer with (RFC 9457): HTTP status, title, what to do about it. */
export const PROBLEMS = {
  "agent-locked": [
    403,
    "Agent locked",
    "Two copies of this agent are running; re-trust one of them.",
  ],
  "agent-pending": [
    403,
    "Agent pending",
    "Compare the fingerprint that the agent printed, and approve it; the agent goes on by itself.",
  ],
  "agent-revoked": [
    410,
    "Agent revoked",
    "This agent was revoked; enrol it again with a new join token.",
  ],
  "agent-too-old": [426, "Agent too old", "Update the agent to a supported version."],
  "already-set-up": [
    409,
    "Already set up",
    "Log in (POST /api/v1/login, see /api/docs), or run admin:recover on the server.",
  ],
  "bad-origin": [403, "Wrong origin", "Send the request from the address in ROOKERY_PUBLIC_URL."],
  "conflict": [
    409,
    "Conflict",
    "Look at what is there now: it exists already, or its state does not allow this any more.",
  ],
  "forbidden": [403, "Forbidden", "Ask an administrator for the permission named in the detail."],
  "head-too-large": [431, "Head too large", "Send fewer or shorter headers."],
  "in-use": [409, "In use", "Remove what uses it first."],
  "internal": [500, "Internal error", "Look up the request id in the control plane's log."],
  "invalid-code": [
    401,
    "Invalid code",
    "Send the code that the authenticator shows next, or a recovery code that was not used yet.",
  ],
  "invalid-credentials": [401, "Invalid credentials", "Check the user name and the password."],
  "invalid-proof": [
    401,
    "Invalid proof",
    "Sign the request with the agent's key and the newest nonce.",
  ],
  "join-token-invalid": [
    401,
    "Join token invalid",
    "Enrol with a new join token; an administrator makes one.",
  ],
  "keys-stale": [
    503,
    "Keys out of date",
    "Give this replica the newest key file: its log says which one it has.",
  ],
  "lease-superseded": [409, "Lease superseded", "A newer lease exists; drop this one."],
  "lease-unknown": [404, "Lease unknown", "This agent does not hold that lease; drop it."],
  "login-locked": [
    429,
    "Login locked",
    "Try again after the time in Retry-After; an administrator can unlock the user before that.",
  ],
  "malformed": [400, "Malformed request", "Send well-formed JSON."],
  "method-not-allowed": [405, "Method not allowed", "See /api/docs for the methods of this path."],
  "not-found": [
    404,
    "Not found",
    "Check the id, which may have been deleted, and the address: /api/docs lists them all.",
  ],
  "overloaded": [503, "Overloaded", "Try again after the time in Retry-After."],
  "password-change-required": [
    403,
    "Password change required",
    "Log in with a browser and choose a new password: POST /api/v1/me/password, see /api/docs.",
  ],
  "provider-away": [
    503,
    "OpenID provider away",
    "Try again after the time in Retry-After; the control plane's log says what was wrong.",
  ],
  "queue-full": [429, "Queue full", "Try again after the time in Retry-After."],
  "second-factor-enrolment-required": [
    403,
    "Second factor demanded",
    "Log in with a browser and enrol: POST /api/v1/me/second-factor, see /api/docs.",
  ],
  "second-factor-required": [
    401,
    "Second factor required",
    "Send the code of the authenticator, or a recovery code: POST /api/v1/login/code.",
  ],
  "session-required": [401, "Not logged in", "Log in, or send an API token as a bearer token."],
  "setup-link-invalid": [
    401,
    "Setup link invalid",
    "Use the newest link that the control plane printed; it lives one hour.",
  ],
  "sign-in-refused": [
    403,
    "Sign-in refused",
    "Begin again; if it stays so, ask an administrator, and mention the detail.",
  ],
  "too-large": [413, "Too large", "Send less."],
  "too-slow": [408, "Too slow", "Send the request again, faster."],
  "too-many-requests": [429, "Too many requests", "Try again after the time in Retry-After."],
  "unsupported-media-type": [
    415,
    "Unsupported media type",
    "Send the content type that /api/docs names.",
  ],
  "upload-offset": [
    409,
    "Upload incomplete",
    "Ask by HEAD how much of the upload is there, and send what is missing.",
  ],
  "validation": [422, "Invalid input", "Correct the fields named in errors."],
} as const satisfies Record<string, readonly [status: number, title: string, remedy: string]>;

export type ProblemType = keyof typeof PROBLEMS;
export const ProblemType = z.enum(Object.keys(PROBLEMS) as [ProblemType, ...ProblemType[]]);

/** One refused field: what is wrong with it, and where it stands as a JSON pointer (`#/hostname`). */
export const FieldError = z.object({ detail: z.string(), pointer: z.string() });
export type FieldError = z.infer<typeof FieldError>;

/** The body of every error reply, `application/problem+json`; `instance` is the request id. */
export const Problem = z.object({
  type: z.string().startsWith("/problems/"),
  title: z.string(),
  status: z.int(),
  detail: z.string(),
  remedy: z.string(),
  instance: z.string(),
  errors: z.array(FieldError).optional(),
  retryAfterSeconds: z.int().optional(),
}).meta({ id: "Problem" });
export type Problem = z.infer<typeof Problem>;

export interface ProblemOptions extends ErrorOptions {
  readonly errors?: readonly FieldError[];
  readonly retryAfterSeconds?: number;
}

/** A refusal that callers are meant to see. Anything else that is thrown becomes `internal` without its message. */
export class ProblemError extends Error {
  readonly type: ProblemType;
  readonly status: number;
  readonly errors: readonly FieldError[];
  readonly retryAfterSeconds: number | undefined;

  constructor(type: ProblemType, detail: string, options: ProblemOptions = {}) {
    super(detail, options);
    this.name = "ProblemError";
    this.type = type;
    this.status = PROBLEMS[type][0];
    this.errors = options.errors ?? [];
    this.retryAfterSeconds = options.retryAfterSeconds;
  }

  /** The wire form of this problem for the request with id `instance`. */
  toProblem(instance: string): Problem {
    const [status, title, remedy] = PROBLEMS[this.type];
    return {
      type: `/problems/${this.type}`,
      title,
      status,
      detail: this.message,
      remedy,
      instance,
      ...(this.errors.length > 0 ? { errors: [...this.errors] } : {}),
      ...(this.retryAfterSeconds === undefined
        ? {}
        : { retryAfterSeconds: this.retryAfterSeconds }),
    };
  }

  /** Reads a problem reply back into an error; undefined when the body is no problem of ours. */
  static parse(body: unknown): ProblemError | undefined {
    const parsed = Problem.safeParse(body);
    if (!parsed.success) return undefined;
    const type = ProblemType.safeParse(parsed.data.type.slice("/problems/".length));
    if (!type.success) return undefined;
    const { detail, errors, retryAfterSeconds } = parsed.data;
    return new ProblemError(type.data, detail, {
      ...(errors ? { errors } : {}),
      ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }),
    });
  }
}

/** The refusal of one field; `pointer` is `#/name` in a body and `?name` in a query. */
export function refusedField(pointer: string, detail: string, cause?: unknown): ProblemError {
  return new ProblemError("validation", `${pointer}: ${detail}`, {
    errors: [{ detail, pointer }],
    ...cause !== undefined && { cause },
  });
}

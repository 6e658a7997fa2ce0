import { HTTPException } from "hono/http-exception";
import { PROBLEM_HEADER } from "@rookery/shared/client.ts";
import { ProblemError, type ProblemType } from "@rookery/shared/problem.ts";
import { isDatabaseAway } from "../database/away.ts";
import type { App, AppContext } from "./app_type.ts";
import { describeError } from "./log.ts";
import { spread } from "./overload.ts";
import { notFoundReply } from "./pages.ts";

/** Exceptions that the framework throws by itself, in our words. */
const FRAMEWORK_PROBLEMS: Readonly<Record<number, readonly [ProblemType, string]>> = {
  400: ["malformed", "The request body is no well-formed JSON."],
  413: ["too-large", "The request body is larger than this endpoint takes."],
  415: ["unsupported-media-type", "The request body has no content type, or another one."],
};

/** What RFC 9110 wants beside a 401. */
const CHALLENGES: Partial<Record<ProblemType, string>> = {
  "session-required": 'Bearer realm="rookery"',
  "invalid-credentials": 'Bearer realm="rookery"',
  "setup-link-invalid": 'Bearer realm="rookery"',
  "join-token-invalid": 'DPoP algs="Ed25519"',
  "invalid-proof": 'DPoP algs="Ed25519"',
};

/** An embedded PostgreSQL that died is back within a second or two; not all are to ask in the same moment. */
const DATABASE_RETRY_SECONDS = [1, 5] as const;

/** Makes every refusal and every unforeseen error of the app a problem (RFC 9457), in this one place. */
export function mountProblems(app: App): void {
  app.onError((error, context) => replyWithProblem(context, toProblemError(error, context)));
  app.notFound((context) => {
    const methods = methodsOf(app, context.req.path);
    // A mounted route may also find nothing and say so by `context.notFound()`.
    if (methods.length === 0 || methods.includes(context.req.raw.method)) {
      if (isPageView(context)) return notFoundReply(context);
      return replyWithProblem(
        context,
        new ProblemError("not-found", "There is nothing at this address."),
      );
    }
    context.header("Allow", methods.join(", "));
    return replyWithProblem(
      context,
      new ProblemError("method-not-allowed", `This address takes ${methods.join(", ")}.`),
    );
  });
}

/** Somebody at a browser who followed a link; programs are told in the way of the API. */
function isPageView({ req }: AppContext): boolean {
  return req.raw.method === "GET" && (req.header("accept") ?? "").includes("text/html") &&
    !/^\/(api|agent)\//.test(req.path);
}

function toProblemError(error: Error, context: AppContext): ProblemError {
  if (error instanceof ProblemError) return error;
  if (error instanceof HTTPException) {
    const known = FRAMEWORK_PROBLEMS[error.status];
    if (known) return new ProblemError(...known);
  }
  const away = isDatabaseAway(error);
  context.var.log({
    level: "error",
    message: away ? "Database away" : "Unforeseen error",
    requestId: context.var.requestId,
    ...describeError(error),
  });
  if (away) {
    const retryAfterSeconds = spread(DATABASE_RETRY_SECONDS);
    return new ProblemError("overloaded", "The database does not answer.", { retryAfterSeconds });
  }
  return new ProblemError("internal", `The control plane failed; see its log.`);
}

function replyWithProblem(context: AppContext, problem: ProblemError): Response {
  const challenge = CHALLENGES[problem.type];
  if (challenge && !context.res.headers.has("www-authenticate")) {
    context.header("WWW-Authenticate", challenge);
  }
  if (problem.retryAfterSeconds !== undefined) {
    context.header("Retry-After", String(problem.retryAfterSeconds));
  }
  context.header(PROBLEM_HEADER, problem.type);
  context.header("Content-Type", "application/problem+json");
  const body = JSON.stringify(problem.toProblem(context.var.requestId));
  return context.body(body, problem.status as 400);
}

/** The methods that are mounted at a path; a HEAD is served wherever a GET is. */
function methodsOf(app: App, path: string): readonly string[] {
  const methods = app.routes
    .filter((route) => route.method !== "ALL" && patternOf(route.path).test(path))
    .map((route) => route.method);
  const all = new Set(methods.includes("GET") ? [...methods, "HEAD"] : methods);
  return [...all].sort();
}

function patternOf(path: string): RegExp {
  const source = path.split("/").map((part) =>
    part.startsWith(":") ? "[^/]+" : part === "*" ? ".*" : RegExp.escape(part)
  ).join("/");
  return new RegExp(`^${source}$`);
}

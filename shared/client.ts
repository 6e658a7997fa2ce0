import type { z } from "zod";
import type { AnyEndpoint, CallInput, CallReply } from "./endpoint.ts";
import { fieldErrors, type InputPlace } from "./field_errors.ts";
import { ProblemError, PROBLEMS, ProblemType } from "./problem.ts";
import { readServerEvents } from "./server_events.ts";

/** Names the problem type of an error reply, for replies without a body. */
export const PROBLEM_HEADER = "x-rookery-problem";

/** What carries a request: `fetch`, an agent's signing wrapper around it, or `app.fetch` in a test. */
export type Send = (request: Request) => Response | Promise<Response>;

export interface CallOptions {
  readonly signal?: AbortSignal;
  readonly headers?: HeadersInit;
  /** Shown the header fields of the reply, also of a refusal, before its body is read. */
  readonly onHeaders?: (headers: Headers) => void;
}

/** The reply is not one that the control plane gives: a proxy's page, another version, another program. */
export class UnexpectedReplyError extends Error {
  override readonly name = "UnexpectedReplyError";
  readonly status: number;

  constructor(message: string, options: ErrorOptions & { readonly status: number }) {
    super(message, options);
    this.status = options.status;
  }
}

/** The caller's own input, unread: what the generic type of an endpoint cannot tell inside this file. */
interface LooseInput {
  readonly params?: Record<string, unknown>;
  readonly query?: Record<string, unknown>;
  readonly body?: unknown;
}

/**
 * Calls an endpoint of the control plane at `base` (`https://rookery.example.com`). Input and reply are parsed by the
 * endpoint's schemas. Throws a ProblemError for a refusal (also for input that the endpoint would refuse), an
 * UnexpectedReplyError for a reply that is none of ours, and whatever `send` throws.
 */
export async function call<E extends AnyEndpoint>(
  send: Send,
  base: string | URL,
  endpoint: E,
  input: CallInput<E>,
  options: CallOptions = {},
): Promise<CallReply<E>> {
  const response = await send(requestFor(base, endpoint, input as LooseInput, options));
  options.onHeaders?.(response.headers);
  if (response.status !== endpoint.status) throw await refusalOf(endpoint, response);
  // Parsed by the very schema that CallReply is computed from.
  return await readReply(endpoint, response) as CallReply<E>;
}

function requestFor(
  base: string | URL,
  endpoint: AnyEndpoint,
  input: LooseInput,
  options: CallOptions,
): Request {
  check(endpoint.params, input.params, "params");
  check(endpoint.query, input.query ?? {}, "query");
  const headers = new Headers(options.headers);
  const body = bodyFor(endpoint, input.body, headers);
  if (endpoint.replyAs === "json") headers.set("accept", "application/json");
  return new Request(urlFor(base, endpoint, input), {
    method: endpoint.method,
    headers,
    // Nothing of ours redirects: who does wants tokens, configurations or requests to go elsewhere.
    redirect: "error",
    ...(body === undefined ? {} : { body }),
    ...(options.signal ? { signal: options.signal } : {}),
  });
}

function bodyFor(
  endpoint: AnyEndpoint,
  body: unknown,
  headers: Headers,
): BodyInit | undefined {
  if (endpoint.bodyAs === "bytes") {
    if (!headers.has("content-type")) headers.set("content-type", endpoint.bodyTypes[0]);
    return body as BodyInit;
  }
  if (!endpoint.body) return undefined;
  check(endpoint.body, body, "body");
  headers.set("content-type", "application/json");
  return JSON.stringify(body);
}

/** Says no in the words the control plane would use. What was given is sent as it is: it is parsed there again. */
function check(schema: z.ZodType | undefined, value: unknown, place: InputPlace): void {
  const parsed = schema?.safeParse(value);
  if (!parsed || parsed.success) return;
  throw new ProblemError("validation", "Some fields were refused.", {
    errors: fieldErrors(parsed.error, place),
  });
}

function urlFor(
  base: string | URL,
  endpoint: AnyEndpoint,
  input: Pick<LooseInput, "params" | "query">,
): URL {
  const path = endpoint.path.replaceAll(
    /:(\w+)/g,
    (_match, name: string) => encodeURIComponent(String(input.params?.[name])),
  );
  const url = new URL(path, base);
  for (const [name, value] of Object.entries(input.query ?? {})) {
    if (value === undefined) continue;
    for (const item of Array.isArray(value) ? value : [value]) {
      url.searchParams.append(name, String(item));
    }
  }
  return url;
}

async function readReply(endpoint: AnyEndpoint, response: Response): Promise<unknown> {
  if (endpoint.replyAs === "bytes") return await response.bytes();
  if (endpoint.replyAs === "text") return await response.text();
  if (endpoint.replyAs === "events") return readServerEvents(response, endpoint);
  if (endpoint.replyAs === "nothing" || !endpoint.reply) {
    await response.body?.cancel();
    return undefined;
  }
  const parsed = endpoint.reply.safeParse(await readJson(response));
  if (parsed.success) return parsed.data;
  throw new UnexpectedReplyError(
    `Cannot understand the reply of ${endpoint.method} ${endpoint.path}: ${
      fieldErrors(parsed.error, "reply").map((field) => `${field.pointer} ${field.detail}`)
        .join("; ")
    }`,
    { status: response.status, cause: parsed.error },
  );
}

async function refusalOf(endpoint: AnyEndpoint, response: Response): Promise<Error> {
  const body = await readJson(response);
  const problem = ProblemError.parse(body) ?? problemOfHead(endpoint, response);
  return problem ?? new UnexpectedReplyError(
    `Cannot understand the reply of ${endpoint.method} ${endpoint.path}: status ${response.status}`,
    { status: response.status },
  );
}

/** A reply to HEAD has no body: a header names the problem instead. */
function problemOfHead(endpoint: AnyEndpoint, response: Response): ProblemError | undefined {
  if (endpoint.method !== "HEAD") return undefined;
  const type = ProblemType.safeParse(response.headers.get(PROBLEM_HEADER));
  return type.success ? new ProblemError(type.data, PROBLEMS[type.data][1]) : undefined;
}

/** No reply of ours comes near: who sends more wants the caller's memory. */
const MAX_JSON_CHARACTERS = 32 * 1024 * 1024;

async function readJson(response: Response): Promise<unknown> {
  const text = await readText(response);
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

async function readText({ body, status }: Response): Promise<string> {
  const pieces: string[] = [];
  let length = 0;
  for await (const piece of body?.pipeThrough(new TextDecoderStream()) ?? []) {
    length += piece.length;
    if (length > MAX_JSON_CHARACTERS) {
      throw new UnexpectedReplyError("Cannot take a reply of more than 32 MB", { status });
    }
    pieces.push(piece);
  }
  return pieces.join("");
}

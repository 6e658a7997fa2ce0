import assert from "node:assert/strict";
import { z } from "zod";
import { call, PROBLEM_HEADER, type Send, UnexpectedReplyError } from "./client.ts";
import { type CallInput, type CallReply, endpoint, type HandlerInput } from "./endpoint.ts";
import { DeviceId } from "./ids.ts";
import { ProblemError } from "./problem.ts";

const readThing = endpoint({
  method: "GET",
  path: "/api/v1/things/:name",
  access: "devices:read",
  summary: "Read a thing",
  params: z.strictObject({ name: z.string().min(1) }),
  query: z.strictObject({ tags: z.array(z.string()).optional(), deep: z.stringbool().optional() }),
  reply: z.object({ deviceId: DeviceId }),
});
const probeThing = endpoint({
  method: "HEAD",
  path: "/api/v1/thing",
  access: "agent",
  summary: "Say whether a thing is there",
});
const putThing = endpoint({
  method: "PUT",
  path: "/api/v1/thing",
  access: "agent",
  summary: "Send a thing",
  bodyAs: "bytes",
});
const createThing = endpoint({
  method: "POST",
  path: "/api/v1/things",
  access: "public",
  summary: "Create a thing",
  body: z.strictObject({ name: z.string().min(1), size: z.int().default(1) }),
  reply: z.object({ size: z.int() }),
  status: 201,
});

const BASE = "https://rookery.test";
const NIL = "00000000-0000-4000-8000-000000000000";

Deno.test("call() writes names into the path and lists into the query, and brands the reply", async () => {
  let seen: Request | undefined;
  const send: Send = (request) => {
    seen = request;
    return Response.json({ deviceId: NIL, more: "is dropped" });
  };
  const input = { params: { name: "a/b ?" }, query: { tags: ["x", "y&z"] } };
  const reply = await call(send, BASE, readThing, input);
  assert.deepEqual(reply, { deviceId: NIL });
  assert.equal(seen?.url, `${BASE}/api/v1/things/a%2Fb%20%3F?tags=x&tags=y%26z`);
});

Deno.test("call() sends what it was given, and JSON as JSON", async () => {
  let body: unknown;
  const send: Send = async (request) => {
    assert.equal(request.headers.get("content-type"), "application/json");
    body = await request.json();
    return Response.json({ size: 1 }, { status: 201 });
  };
  await call(send, BASE, createThing, { body: { name: "n" } });
  assert.deepEqual(body, { name: "n" });
});

Deno.test("call() refuses wrong input before it sends anything, by the field", async () => {
  const send: Send = () => assert.fail("nothing must be sent");
  const error = await refusal(call(send, BASE, createThing, { body: { name: "" } }));
  assert.ok(error instanceof ProblemError);
  assert.deepEqual([error.type, error.errors[0]?.pointer], ["validation", "#/name"]);
});

Deno.test("call() throws the problem that was answered, with its wait", async () => {
  const problem = new ProblemError("queue-full", "Full.", { retryAfterSeconds: 7 });
  const send: Send = () => Response.json(problem.toProblem("r1"), { status: 429 });
  const error = await refusal(call(send, BASE, createThing, { body: { name: "n" } }));
  assert.ok(error instanceof ProblemError);
  assert.deepEqual([error.type, error.message, error.retryAfterSeconds], [
    "queue-full",
    "Full.",
    7,
  ]);
});

Deno.test("call() reads the problem of a HEAD from its header, and trusts no status alone", async () => {
  const headers = { [PROBLEM_HEADER]: "not-found" };
  const named: Send = () => new Response(null, { status: 404, headers });
  const error = await refusal(call(named, BASE, probeThing, {}));
  assert.ok(error instanceof ProblemError && error.type === "not-found");
  const proxy: Send = () => new Response(null, { status: 404 });
  assert.ok(await refusal(call(proxy, BASE, probeThing, {})) instanceof UnexpectedReplyError);
});

Deno.test("call() takes no page of a proxy and no other status for a reply", async () => {
  const replies = [
    new Response("<html>Bad Gateway", { status: 502 }),
    new Response("<html>Welcome", { status: 201 }),
    Response.json({ size: "large" }, { status: 201 }),
    Response.json({ size: 1 }, { status: 200 }),
  ];
  for (const reply of replies) {
    const error = await refusal(call(() => reply, BASE, createThing, { body: { name: "n" } }));
    assert.ok(error instanceof UnexpectedReplyError);
    assert.equal(error.status, reply.status);
  }
});

Deno.test("call() sends bytes as they are, and expects nothing back", async () => {
  let received: Uint8Array | undefined;
  const send: Send = async (request) => {
    assert.equal(request.headers.get("content-type"), "application/octet-stream");
    received = await request.bytes();
    return new Response(null, { status: 204 });
  };
  const reply = await call(send, BASE, putThing, { body: new Uint8Array([0, 255]) });
  assert.equal(reply, undefined);
  assert.deepEqual(received, new Uint8Array([0, 255]));
});

Deno.test("call() passes the signal on", async () => {
  const send: Send = (request) => {
    request.signal.throwIfAborted();
    return new Response(null, { status: 200 });
  };
  const signal = AbortSignal.abort(new Error("enough"));
  const error = await refusal(call(send, BASE, probeThing, {}, { signal }));
  assert.match(String(error), /enough/);
});

Deno.test("endpoint() infers what is called, handled and returned exactly", () => {
  const exact: readonly true[] = [
    same<CallInput<typeof createThing>["body"], { name: string; size?: number | undefined }>(),
    same<HandlerInput<typeof createThing>["body"], { name: string; size: number }>(),
    same<CallReply<typeof readThing>, { deviceId: DeviceId }>(),
    same<CallReply<typeof putThing>, undefined>(),
    same<(typeof createThing)["access"], "public">(),
  ];
  assert.equal(exact.length, 5);
  assert.deepEqual([readThing.status, probeThing.status, putThing.status, createThing.status], [
    200,
    200,
    204,
    201,
  ]);
  // @ts-expect-error -- a path with a name needs its schema
  endpoint({ method: "GET", path: "/x/:id", access: "public", summary: "Wrong" });
});

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true
  : false;

/** Compiles only with `true`, that is when both types are the same. */
function same<A, B>(): Same<A, B> {
  return true as Same<A, B>;
}

async function refusal(promise: Promise<unknown>): Promise<unknown> {
  return await promise.then(() => assert.fail("must be refused"), (error: unknown) => error);
}

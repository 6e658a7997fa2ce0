import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { DEFAULT_LIMITS, listen } from "../../control-plane/http/listen.ts";
import type { WebHandler } from "../../control-plane/http/web_exchange.ts";
import { connectRaw } from "../support/listening.ts";

const WORK_MS = 1_000;

function open(handle: WebHandler) {
  const limits = { ...DEFAULT_LIMITS, total: 100, perNetwork: 100, isShared: () => true };
  const origin = "https://rookery.test";
  return listen(handle, { hostname: "127.0.0.1", port: 0, origin, limits });
}

/** A handler that works for a while; a caller that goes away does not end it. */
function worker() {
  const entered = Promise.withResolvers<void>();
  let isDone = false;
  const handle: WebHandler = async () => {
    entered.resolve();
    await delay(WORK_MS);
    isDone = true;
    return Response.json({});
  };
  return { handle, entered: entered.promise, isDone: () => isDone };
}

Deno.test("a shutdown is not over while something works for a caller who is gone", async () => {
  const { handle, entered, isDone } = worker();
  const listening = await open(handle);
  const caller = await connectRaw(listening.port);
  await caller.write("GET / HTTP/1.1\r\nHost: rookery.test\r\n\r\n");
  await entered;
  caller.close();
  await caller.closed;
  await listening.shutdown(0);
  assert.ok(isDone());
});

Deno.test("a body that broke off before its answer leaves nothing behind", async () => {
  const { handle, entered, isDone } = worker();
  const listening = await open(handle);
  const caller = await connectRaw(listening.port);
  await caller.write("PUT / HTTP/1.1\r\nHost: rookery.test\r\nContent-Length: 9\r\n\r\nhalf");
  await entered;
  caller.close();
  await caller.closed;
  // By then its connection is closed on both sides; a timer for it would be found as a leak.
  await listening.shutdown(0);
  assert.ok(isDone());
});

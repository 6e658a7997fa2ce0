import assert from "node:assert/strict";
import { readSigningKeys, sendHeartbeat } from "@rookery/shared/api/agent_protocol.ts";
import { call, UnexpectedReplyError } from "@rookery/shared/client.ts";
import type { BootId } from "@rookery/shared/ids.ts";
import { boundedMs } from "../../agent/clock.ts";
import { makeSend } from "../../agent/http.ts";

/** A server that is not the control plane. */
function impostor(handler: (request: Request) => Response) {
  const requests: string[] = [];
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
    requests.push(`${request.method} ${new URL(request.url).pathname}`);
    return handler(request);
  });
  const base = `http://127.0.0.1:${server.addr.port}`;
  return { base, requests, [Symbol.asyncDispose]: () => server.shutdown() };
}

Deno.test("an agent follows no redirect: neither its tokens nor its requests go elsewhere", async () => {
  await using victim = impostor(() => Response.json({ keys: [] }));
  await using server = impostor(() =>
    new Response(null, { status: 307, headers: { location: `${victim.base}/admin` } })
  );
  using client = Deno.createHttpClient({ http2: false });
  const body = { bootId: crypto.randomUUID() as BootId, leaseIds: [] };
  await assert.rejects(call(makeSend(client), server.base, sendHeartbeat, { body }), TypeError);
  assert.deepEqual([server.requests.length, victim.requests], [1, []]);
});

Deno.test("an agent takes no endless reply", async () => {
  const piece = new Uint8Array(1024 * 1024).fill(0x20);
  await using server = impostor(() =>
    new Response(
      new ReadableStream({ pull: (stream) => stream.enqueue(piece) }),
      { headers: { "content-type": "application/json" } },
    )
  );
  using client = Deno.createHttpClient({ http2: false });
  await assert.rejects(
    call(makeSend(client), server.base, readSigningKeys, {}),
    (error: unknown) => error instanceof UnexpectedReplyError && /32 MB/.test(error.message),
  );
});

Deno.test("boundedMs() takes no number of seconds that would race or sleep for ever", () => {
  const limits = { min: 1, max: 300 };
  const seconds = [-1, 0, 20, 1e7, Number.NaN, Number.POSITIVE_INFINITY];
  assert.deepEqual(
    seconds.map((each) => boundedMs(each, limits)),
    [1_000, 1_000, 20_000, 300_000, 1_000, 1_000],
  );
});

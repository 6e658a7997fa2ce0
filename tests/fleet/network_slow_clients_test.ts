import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { claimLeases, sendHeartbeat } from "@rookery/shared/api/agent_protocol.ts";
import type { ClaimId } from "@rookery/shared/ids.ts";
import { Problem, ProblemError } from "@rookery/shared/problem.ts";
import {
  bootByHand,
  enrolAgent,
  makeSite,
  type ManualBoot,
  until,
} from "../support/agent_bench.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { connectRaw, listenAt, overSocket, type RawConnection } from "../support/listening.ts";

const plane = testControlPlane(testDatabase(), { publicUrl: "https://rookery.test" });
const HEAD_MS = 2_000;
const OF_EACH = 120;
/** The longest that a round of honest work may take. */
const ROUND_MS = 10_000;
const MEGABYTE = 1024 * 1024;

const HEAD = "POST /api/v1/login HTTP/1.1\r\nHost: rookery.test\r\n";
const DRIPPED_BODY = `${HEAD}Content-Type: application/json\r\nContent-Length: 60000\r\n\r\n{`;

/** Slow in each of the ways: nothing at all, a head without end, a body without end. */
const OPENINGS = [
  { first: "", drop: "" },
  { first: HEAD, drop: "X-Slow: very\r\n" },
  { first: DRIPPED_BODY, drop: " " },
] as const;

interface SlowClient {
  readonly connection: RawConnection;
  readonly drop: string;
}

async function attack(port: number): Promise<SlowClient[]> {
  const clients: SlowClient[] = [];
  for (let n = 0; n < OF_EACH; n++) {
    for (const { first, drop } of OPENINGS) {
      const connection = await connectRaw(port);
      await connection.write(first);
      clients.push({ connection, drop });
    }
  }
  return clients;
}

async function drip(clients: readonly SlowClient[], signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    for (const { connection, drop } of clients) {
      if (drop && !connection.isClosed()) await connection.write(drop);
    }
    await delay(400);
  }
}

/** Asks again, as an agent does, while the control plane is busy or a connection breaks: how long it took is what counts. */
async function untilServed(ask: () => Promise<unknown>): Promise<void> {
  const giveUpAt = performance.now() + ROUND_MS;
  for (;;) {
    try {
      return void await ask();
    } catch (error) {
      const isBusy = error instanceof TypeError ||
        error instanceof ProblemError && error.type === "overloaded";
      if (!isBusy || performance.now() > giveUpAt) throw error;
    }
    await delay(100);
  }
}

/** One round of an honest agent's requests; returns its milliseconds. */
async function work(boot: ManualBoot): Promise<number> {
  const startedAt = performance.now();
  const { bootId } = boot;
  await untilServed(() => boot.call(sendHeartbeat, { body: { bootId, leaseIds: [] } }));
  const claimId = crypto.randomUUID() as ClaimId;
  const body = { bootId, claimId, wanted: 1, waitSeconds: 0 };
  await untilServed(() => boot.call(claimLeases, { body }));
  return performance.now() - startedAt;
}

/** Rounds of honest work until all slow clients are cut off, or a minute is over. */
async function workWhile(clients: readonly SlowClient[], boot: ManualBoot): Promise<number[]> {
  const stop = new AbortController();
  const dripping = drip(clients, stop.signal);
  const rounds: number[] = [];
  const giveUpAt = performance.now() + 60_000;
  try {
    while (!areCutOff(clients) && performance.now() < giveUpAt) {
      rounds.push(await work(boot));
      await delay(100);
    }
  } finally {
    stop.abort();
    await dripping;
  }
  return rounds;
}

function areCutOff(clients: readonly SlowClient[]): boolean {
  return clients.every(({ connection }) => connection.isClosed());
}

Deno.test("hundreds of slow clients are cut off, and honest agents are served meanwhile", async () => {
  await using listening = await listenAt(plane, { limits: { headMs: HEAD_MS } });
  using client = Deno.createHttpClient({ http2: false });
  const siteId = await makeSite(plane);
  await using enrolled = await enrolAgent(plane, [siteId]);
  const boot = await bootByHand(plane, enrolled);
  boot.wire.carrier = overSocket(`http://127.0.0.1:${listening.port}`, client);
  await work(boot);
  const before = Deno.memoryUsage().rss;
  const clients = await attack(listening.port);
  const rounds = await workWhile(clients, boot);
  const grownBy = (Deno.memoryUsage().rss - before) / MEGABYTE;
  for (const { connection } of clients) connection.close();
  assert.ok(areCutOff(clients), "some slow clients are still there");
  assert.ok(rounds.length > 20, `only ${rounds.length} rounds of honest work`);
  assert.ok(Math.max(...rounds) < ROUND_MS, `an honest round took ${Math.max(...rounds)} ms`);
  assert.ok(grownBy < 200, `memory grew by ${grownBy} MB`);
  await until(() => listening.connections < 5, "the descriptors are free again");
  for (const { connection, drop } of clients) {
    assert.match(connection.received(), /^HTTP\/1.1 408 /, drop);
    assert.match(connection.received(), /"\/problems\/too-slow"/);
  }
});

Deno.test("one network gets no more than its share of connections, and has it back later", async () => {
  await using listening = await listenAt(plane, {
    limits: { perNetwork: 10, isShared: () => false },
  });
  const connections: RawConnection[] = [];
  for (let n = 0; n < 25; n++) connections.push(await connectRaw(listening.port));
  await until(() => connections.filter((one) => one.isClosed()).length === 15, "15 are refused");
  assert.equal(listening.connections, 10);
  for (const connection of connections) connection.close();
  await until(() => listening.connections === 0, "all have left");
  const again = await connectRaw(listening.port);
  await again.write("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  await again.closed;
  assert.match(again.received(), /^HTTP\/1.1 200 /);
  again.close();
});

Deno.test("the whole has a limit, also for those who stand for many", async () => {
  await using listening = await listenAt(plane, { limits: { total: 6 } });
  const connections: RawConnection[] = [];
  for (let n = 0; n < 9; n++) connections.push(await connectRaw(listening.port));
  await until(() => connections.filter((one) => one.isClosed()).length === 3, "3 are refused");
  for (const connection of connections) connection.close();
});

const ODD: readonly (readonly [sent: string, status: number, type: string | undefined])[] = [
  [
    `GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: ${"y".repeat(40_000)}\r\n\r\n`,
    431,
    "head-too-large",
  ],
  ["\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "malformed"],
  ["GET /healthz HTTP/1.1\r\nNo colon here\r\n\r\n", 400, "malformed"],
  ["TRACE /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400, "malformed"],
  ["GET nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400, "malformed"],
  ["GET //rookery.test/healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404, "not-found"],
  [
    "GET http://other.test/healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    200,
    undefined,
  ],
  [
    "POST /agent/v1/enroll HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    422,
    "validation",
  ],
];

for (const [sent, status, type] of ODD) {
  Deno.test(`what is no usual request is answered too: ${JSON.stringify(sent.slice(0, 40))}`, async () => {
    await using listening = await listenAt(plane);
    const connection = await connectRaw(listening.port);
    await connection.write(sent);
    await connection.closed;
    connection.close();
    const reply = connection.received();
    assert.match(reply, new RegExp(`^HTTP/1.1 ${status} `), reply);
    if (!type) return;
    const problem = Problem.parse(JSON.parse(reply.slice(reply.indexOf("\r\n\r\n") + 4)));
    assert.deepEqual([problem.type, problem.status], [`/problems/${type}`, status]);
  });
}

Deno.test("a caller that is refused early reads why, and may not go on sending for ever", async () => {
  await using listening = await listenAt(plane);
  const connection = await connectRaw(listening.port);
  await connection.write(
    `${HEAD}Content-Type: application/json\r\nContent-Length: 9000000\r\n\r\n{`,
  );
  await until(() => connection.received() !== "", "the refusal comes");
  assert.match(connection.received(), /^HTTP\/1.1 413 /);
  await until(() => connection.isClosed(), "it is cut off", 15_000);
  connection.close();
});

Deno.test("a large reply and a large body arrive whole over a socket", async () => {
  await using listening = await listenAt(plane);
  using client = Deno.createHttpClient({ http2: false });
  const base = `http://127.0.0.1:${listening.port}`;
  const page = await fetch(`${base}/api/v1/openapi.json`, { client });
  const bytes = await page.bytes();
  assert.equal(bytes.length, Number(page.headers.get("content-length")));
  assert.ok(JSON.parse(new TextDecoder().decode(bytes)).paths["/agent/v1/claim"]);
  const reply = await fetch(`${base}/api/v1/login`, {
    client,
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ username: "x", password: "y".repeat(900_000) }),
  });
  assert.equal(reply.status, 422);
  await reply.body?.cancel();
});

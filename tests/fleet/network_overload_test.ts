import assert from "node:assert/strict";
import { sql } from "kysely";
import {
  claimLeases,
  hasBlob,
  reportResult,
  sendHeartbeat,
} from "@rookery/shared/api/agent_protocol.ts";
import { getHealth } from "@rookery/shared/api/health.ts";
import { PROBLEM_HEADER } from "@rookery/shared/client.ts";
import type { AnyEndpoint } from "@rookery/shared/endpoint.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { createApp } from "../../control-plane/app.ts";
import { connectDatabase } from "../../control-plane/database/connect.ts";
import { readTrustedProxies } from "../../control-plane/http/address.ts";
import { LOAD_LIMITS, type LoadClass, Overload } from "../../control-plane/http/overload.ts";
import { startServices } from "../../control-plane/services.ts";
import { enrolAgent, makeSite, startAgent, until } from "../support/agent_bench.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { fastClock } from "../support/fast_clock.ts";
import { Wire } from "../support/wire.ts";

const database = testDatabase();
const plane = testControlPlane(database, { publicUrl: "https://rookery.test" });

const ONE_OF_EACH: readonly (readonly [LoadClass, AnyEndpoint])[] = [
  ["claims", claimLeases],
  ["blobs", hasBlob],
  ["heartbeats", sendHeartbeat],
  ["results", reportResult],
];

/** A control plane of two database connections, and a way to take both away. */
async function startTight() {
  const tight = connectDatabase(database.address, { poolSize: 2, maxLifetimeSeconds: null });
  const services = await startServices({
    database: tight,
    keyRing: plane.services.keyRing,
    config: { publicUrl: plane.publicUrl, trustedProxies: readTrustedProxies("") },
    log: () => {},
  });
  const app = createApp(services);
  return {
    tight,
    services,
    send: (path: string, init?: RequestInit) =>
      Promise.resolve(app.fetch(new Request(plane.publicUrl + path, init))),
    async [Symbol.asyncDispose]() {
      await services[Symbol.asyncDispose]();
      await tight.close();
    },
  };
}

type Tight = Awaited<ReturnType<typeof startTight>>;

/** Holds both connections until it is released. */
function saturate({ tight }: Tight) {
  const released = Promise.withResolvers<void>();
  const held = Promise.all([1, 2].map(() =>
    tight.db.connection().execute(async (connection) => {
      await sql`select 1`.execute(connection);
      await released.promise;
    })
  ));
  return async () => {
    released.resolve();
    await held;
  };
}

/** Which classes are refused at the door; the others get as far as being asked who they are. */
async function refusedNow({ send }: Tight): Promise<LoadClass[]> {
  const refused: LoadClass[] = [];
  for (const [kind, endpoint] of ONE_OF_EACH) {
    const path = endpoint.path.replace(":leaseId", crypto.randomUUID())
      .replace(":sha256", "0".repeat(64));
    const reply = await send(path, { method: endpoint.method });
    await reply.body?.cancel();
    if (reply.status === 401) continue;
    assert.deepEqual([reply.status, reply.headers.get(PROBLEM_HEADER)], [503, "overloaded"]);
    const [from, to] = LOAD_LIMITS[kind].retrySeconds;
    const after = Number(reply.headers.get("retry-after"));
    assert.ok(after >= from && after <= to, `${kind}: Retry-After ${after}`);
    refused.push(kind);
  }
  return refused;
}

Deno.test("under a saturated pool claims are refused first, then blobs, heartbeats, and results last", async () => {
  await using tight = await startTight();
  const release = saturate(tight);
  await until(() => tight.send("/healthz").then((reply) => reply.ok), "both are held");
  // People ask while nothing is free, and are the ones who wait.
  const people = tight.send("/api/v1/devices", {
    headers: { cookie: (await plane.administrator()).cookie },
  });
  const orders = new Set<string>();
  const giveUpAt = performance.now() + 11_000;
  while (orders.size < 5 && performance.now() < giveUpAt) {
    orders.add((await refusedNow(tight)).join());
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.ok((await tight.send(getHealth.path)).ok, "health is told whatever the load");
  await release();
  const reply = await people;
  await reply.body?.cancel();
  assert.equal(reply.status, 200, "people were served as soon as there was a connection");
  assert.deepEqual([...orders], [
    "",
    "claims",
    "claims,blobs",
    "claims,blobs,heartbeats",
    "claims,blobs,heartbeats,results",
  ]);
  assert.deepEqual(await refusedNow(tight), [], "all are taken again");
});

Deno.test("Overload takes so many of a class and no more; a claim that is held does not count", async () => {
  using overload = new Overload(() => 0);
  const leave = Array.from(
    { length: LOAD_LIMITS.claims.inFlight },
    () => overload.enter(claimLeases),
  );
  const refused = (error: unknown) => error instanceof ProblemError && error.type === "overloaded";
  assert.throws(() => overload.enter(claimLeases), refused);
  overload.enter(sendHeartbeat)();
  const held = Promise.withResolvers<void>();
  const resting = overload.rest("claims", held.promise);
  leave.push(overload.enter(claimLeases));
  held.resolve();
  await resting;
  assert.throws(() => overload.enter(claimLeases), refused);
  for (const each of leave) each();
  overload.enter(claimLeases)();
});

Deno.test("Overload sends claims further away the more of them it refuses, and heartbeats never far", () => {
  using overload = new Overload(() => 60_000);
  const retryAfter = (endpoint: AnyEndpoint): number => {
    try {
      overload.enter(endpoint);
    } catch (error) {
      if (error instanceof ProblemError) return error.retryAfterSeconds ?? 0;
      throw error;
    }
    return assert.fail("it was taken");
  };
  const claims = Array.from({ length: 8_000 }, () => retryAfter(claimLeases));
  assert.ok(Math.max(...claims.slice(0, 500)) <= 15);
  const later = claims.slice(-1_000);
  assert.ok(
    Math.max(...later) > 100 && Math.max(...later) <= 120,
    "they come back over two minutes",
  );
  assert.ok(later.filter((seconds) => seconds < 30).length > 100, "evenly");
  const beats = Array.from({ length: 3_000 }, () => retryAfter(sendHeartbeat));
  assert.ok(Math.max(...beats) <= 5);
});

/** Answers one kind of request as a busy control plane does. */
function busyWire(path: string, retryAfterSeconds: number) {
  const wire = new Wire(plane);
  const times: number[] = [];
  wire.carrier = async (request, pass) => {
    if (!request.url.endsWith(path)) return await pass(request);
    times.push(fastClock.now());
    await request.body?.cancel();
    const problem = new ProblemError("overloaded", "Busy.", { retryAfterSeconds });
    return Response.json(problem.toProblem("test"), { status: 503 });
  };
  return { wire, times };
}

for (const [path, asked, kept] of [["/claim", 60, 60], ["/heartbeat", 60, 8]] as const) {
  Deno.test(`an agent that is told to wait leaves ${path} alone for so long, within reason`, async () => {
    await using enrolled = await enrolAgent(plane, [await makeSite(plane)]);
    const { wire, times } = busyWire(path, asked);
    await using _running = await startAgent(plane, enrolled, { wire, clock: fastClock });
    await until(() => times.length >= 3, "it has asked three times", 30_000);
    const gaps = times.slice(1).map((at, index) => (at - (times[index] ?? 0)) / 1_000);
    for (const gap of gaps) assert.ok(gap >= kept * 0.95, `${path} again after ${gap} s`);
  });
}

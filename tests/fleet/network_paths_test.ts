import assert from "node:assert/strict";
import { readTrustedProxies } from "../../control-plane/http/address.ts";
import { createApp } from "../../control-plane/app.ts";
import {
  addFarmDevice,
  backUpNow,
  enrolAgent,
  makeSite,
  startAgent,
  untilJob,
} from "../support/agent_bench.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { startDevice } from "../support/farm/device.ts";
import { makeRecording } from "../support/farm/recording.ts";
import { connectRaw, listenAt, overSocket } from "../support/listening.ts";
import { makePrivateCa, testWithOpenssl } from "../support/private_ca.ts";
import { type Carrier, Wire } from "../support/wire.ts";
import { until } from "../support/agent_bench.ts";

const database = testDatabase({ poolSize: 8 });
const plane = testControlPlane(database, { publicUrl: "https://rookery.test" });

/** Backs up one device by an agent whose requests go this way. */
async function backUpBy(carrier: Carrier) {
  await using device = await startDevice(makeRecording("frr", 1));
  const siteId = await makeSite(plane);
  const deviceId = await addFarmDevice(plane, siteId, device);
  await using enrolled = await enrolAgent(plane, [siteId]);
  const wire = new Wire(plane);
  wire.carrier = carrier;
  await using running = await startAgent(plane, enrolled, { wire });
  await until(() => running.logged("agent_started"), "it has a session", 20_000);
  const [jobId = assert.fail()] = await backUpNow(plane, [deviceId]);
  const { state } = await untilJob(plane, jobId, "completed", "failed", "dead");
  assert.equal(state, "completed", JSON.stringify(running.log));
  assert.equal(device.log.connections, 1);
}

testWithOpenssl("an agent works over IPv6 and our own TLS from end to end", async () => {
  await using ca = await makePrivateCa();
  const tls = await ca.issue(["IP:::1"]);
  await using listening = await listenAt(plane, { hostname: "::1", tls });
  using client = Deno.createHttpClient({ http2: false, caCerts: [ca.pem] });
  await backUpBy(overSocket(`https://[::1]:${listening.port}`, client));
  assert.ok(plane.log.some(({ address }) => address === "::1"));
});

testWithOpenssl("a caller that never finishes its TLS handshake is cut off", async () => {
  await using ca = await makePrivateCa();
  const tls = await ca.issue(["IP:127.0.0.1"]);
  await using listening = await listenAt(plane, { tls, limits: { headMs: 1_000 } });
  const silent = await connectRaw(listening.port);
  const stuck = await connectRaw(listening.port);
  await stuck.write("\x16\x03\x01\x00\xc8\x01");
  await Promise.all([silent.closed, stuck.closed]);
  silent.close();
  stuck.close();
  await until(() => listening.connections === 0, "both are gone");
});

Deno.test("an agent works through a proxy that keeps each request and each reply until it is whole", async () => {
  await using listening = await listenAt(plane);
  using client = Deno.createHttpClient({ http2: false });
  const upstream = overSocket(`http://127.0.0.1:${listening.port}`, client);
  let carried = 0;
  await using proxy = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    async ({ method, url, headers, body, signal }) => {
      const whole = body ? { body: await new Response(body).bytes() } : {};
      await new Promise((resolve) => setTimeout(resolve, 100));
      const sent = new Request(url, { method, headers, signal, ...whole });
      const reply = await upstream(sent, () => assert.fail());
      const bytes = await reply.bytes();
      carried++;
      const given = reply.status === 204 || method === "HEAD" ? null : bytes;
      return new Response(given, { status: reply.status, headers: reply.headers });
    },
  );
  await backUpBy(overSocket(`http://127.0.0.1:${proxy.addr.port}`, client));
  assert.ok(carried > 5);
});

Deno.test("who calls is told by the socket, and by a header only where a trusted proxy sent it", async () => {
  const log: unknown[] = [];
  const app = createApp({
    ...plane.services,
    trustedProxies: readTrustedProxies("10.0.0.0/8, ::1"),
    log: ({ address }) => log.push(address),
  });
  const addresses: readonly (readonly [remote: string, forwarded: string, known: string])[] = [
    ["203.0.113.5", "192.0.2.1", "203.0.113.5"],
    ["10.0.0.2", "192.0.2.1", "192.0.2.1"],
    ["::ffff:10.0.0.2", "198.51.100.7, 192.0.2.1", "192.0.2.1"],
    ["10.0.0.2", "192.0.2.1, 10.9.9.9", "192.0.2.1"],
    ["::1", "2001:db8::1", "2001:db8::1"],
    ["10.0.0.2", "unknown", "10.0.0.2"],
  ];
  for (const [remoteAddress, forwarded] of addresses) {
    const headers = { "x-forwarded-for": forwarded, forwarded: "for=192.0.2.99" };
    const request = new Request(`${plane.publicUrl}/healthz`, { headers });
    await (await app.fetch(request, { remoteAddress })).body?.cancel();
  }
  assert.deepEqual(log, addresses.map(([, , known]) => known));
});

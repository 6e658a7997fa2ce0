import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import {
  addFarmDevice,
  backUpNow,
  enrolAgent,
  makeSite,
  readJob,
  startAgent,
  until,
  untilJob,
} from "../support/agent_bench.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { startDevice } from "../support/farm/device.ts";
import { makeRecording } from "../support/farm/recording.ts";
import { listenAt, overSocket } from "../support/listening.ts";
import { makePrivateCa, testWithOpenssl } from "../support/private_ca.ts";
import { startRelay } from "../support/relay.ts";
import { Wire } from "../support/wire.ts";

const database = testDatabase({ poolSize: 8 });
const plane = testControlPlane(database, { publicUrl: "https://rookery.test" });
/** Real seconds: timeouts of the agent, of the runtime's HTTP and of the control plane all count in them. */
const SILENT_MS = 120_000;

/** One agent behind a link that dies in the middle of a capture, for two minutes, without a word to either end. */
async function surviveSilence(tls?: { cert: string; key: string; ca: string }): Promise<void> {
  await using listening = await listenAt(plane, tls ? { tls } : {});
  await using relay = startRelay({ hostname: "127.0.0.1", port: listening.port });
  using client = Deno.createHttpClient({ http2: false, caCerts: tls ? [tls.ca] : [] });
  await using device = await startDevice(makeRecording("frr", 1), { fault: "slow_drip" });
  const siteId = await makeSite(plane);
  const deviceId = await addFarmDevice(plane, siteId, device);
  await using enrolled = await enrolAgent(plane, [siteId]);
  const wire = new Wire(plane);
  const scheme = tls ? "https" : "http";
  wire.carrier = overSocket(`${scheme}://127.0.0.1:${relay.port}`, client);
  await using running = await startAgent(plane, enrolled, { wire });
  const [jobId = assert.fail()] = await backUpNow(plane, [deviceId]);
  await until(
    () => device.log.commands.includes("show running-config"),
    "the device is being read",
    60_000,
  );
  relay.stall();
  await delay(SILENT_MS);
  assert.equal((await readJob(plane, jobId)).state, "leased", "the lease outlives the silence");
  relay.mend();
  await until(() => running.logged("result_delivered"), "the result is delivered", 90_000);
  const job = await untilJob(plane, jobId, "completed", "failed", "dead");
  const said = JSON.stringify([job, running.log]);
  assert.equal(job.state, "completed", said);
  assert.equal(job.attempts, 1, said);
  assert.equal(device.log.connections, 1, "the device saw one session");
  const delivered = running.log.find(({ event }) => event === "result_delivered");
  assert.equal(delivered?.answer, "accepted", said);
}

testWithOpenssl(
  "a link that is half open for 120 s in mid-capture costs no second session, in the clear or over TLS",
  async () => {
    await using ca = await makePrivateCa();
    const certificate = await ca.issue(["DNS:localhost", "IP:127.0.0.1"]);
    await Promise.all([surviveSilence(), surviveSilence({ ...certificate, ca: ca.pem })]);
  },
);

import assert from "node:assert/strict";
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

const database = testDatabase({ poolSize: 8 });
const plane = testControlPlane(database, { publicUrl: "https://rookery.test" });

Deno.test("Agent backs up a device that is enqueued while its claim is held", async () => {
  await using device = await startDevice(makeRecording("frr", 1));
  const siteId = await makeSite(plane);
  const deviceId = await addFarmDevice(plane, siteId, device);
  await using enrolled = await enrolAgent(plane, [siteId]);
  await using running = await startAgent(plane, enrolled);
  const [jobId = assert.fail()] = await backUpNow(plane, [deviceId]);
  const job = await untilJob(plane, jobId, "completed", "failed", "dead");
  assert.equal(job.state, "completed", JSON.stringify([job, running.log]));
});

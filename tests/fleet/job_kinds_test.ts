import assert from "node:assert/strict";
import { createJobs } from "@rookery/shared/api/jobs.ts";
import type { CallInput } from "@rookery/shared/endpoint.ts";
import type { JobId, SiteId } from "@rookery/shared/ids.ts";
import { CheckReachabilityOutcome } from "@rookery/shared/jobs/check_reachability.ts";
import { RunCommandsOutcome } from "@rookery/shared/jobs/run_commands.ts";
import { endExpired } from "../../control-plane/jobs/end_expired.ts";
import {
  addDevice,
  addFarmDevice,
  bootByHand,
  enrolAgent,
  type EnrolledAgent,
  makeSite,
  passwordCredential,
  readJob,
  startAgent,
  untilJob,
} from "../support/agent_bench.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { type FarmDevice, startDevice } from "../support/farm/device.ts";
import { makeRecording } from "../support/farm/recording.ts";
import { freePort } from "../support/free_port.ts";

const database = testDatabase({ poolSize: 8 });
const plane = testControlPlane(database, { publicUrl: "https://rookery.test" });

type Order = CallInput<typeof createJobs>["body"];

async function order(body: Order): Promise<JobId> {
  const admin = await plane.administrator();
  const { jobs: [job] } = await admin.call(createJobs, { body });
  return job?.jobId ?? assert.fail("nothing was ordered");
}

/** Orders a job, waits for its end and gives what it reported. */
async function reportOf(body: Order): Promise<unknown> {
  const jobId = await order(body);
  const job = await untilJob(plane, jobId, "completed", "failed", "dead");
  assert.equal(job.state, "completed", job.failureDetail ?? "");
  return job.report;
}

interface Stage extends AsyncDisposable {
  readonly siteId: SiteId;
  readonly enrolled: EnrolledAgent;
}

async function setStage(): Promise<Stage> {
  const siteId = await makeSite(plane);
  const enrolled = await enrolAgent(plane, [siteId]);
  return { siteId, enrolled, [Symbol.asyncDispose]: () => enrolled[Symbol.asyncDispose]() };
}

async function addSilent(siteId: SiteId, device: FarmDevice, password = "wrong") {
  const credentialId = await passwordCredential(plane, device.login.username, password);
  const { host, port, platform } = device;
  const limits = { connectSeconds: 5, idleSeconds: 5, totalSeconds: 30 };
  return await addDevice(plane, siteId, { host, port, platform, credentialId, ...limits });
}

Deno.test("check_reachability times each stage, needs no credential without a login, and takes absence for an answer", async () => {
  await using stage = await setStage();
  const { siteId, enrolled } = stage;
  await using device = await startDevice(makeRecording("frr", 3, { interfaces: 2 }));
  await using _running = await startAgent(plane, enrolled);
  const bare = { host: device.host, port: device.port, credentialId: null };
  const deviceIds = [await addDevice(plane, siteId, bare)];
  const kind = "check_reachability";
  const knocked = CheckReachabilityOutcome.parse(await reportOf({ kind, deviceIds }));
  assert.deepEqual(knocked.stages.map(({ stage }) => stage), ["tcp", "banner"]);
  assert.deepEqual([knocked.reachable, knocked.stages[0]?.seen], [true, "127.0.0.1"]);
  assert.match(knocked.stages[1]?.seen ?? "", /^SSH-2\.0-/);
  assert.equal(device.log.logins.length, 0);

  const gone = await addDevice(plane, siteId, { host: "127.0.0.1", port: freePort() });
  const absent = CheckReachabilityOutcome.parse(
    await reportOf({ kind, deviceIds: [gone] }),
  );
  assert.deepEqual([absent.reachable, absent.stages, absent.failure?.code], [
    false,
    [],
    "connection_refused",
  ]);

  await using other = await startDevice(makeRecording("linux", 4, { interfaces: 2 }));
  const payload = { login: true };
  const reached = CheckReachabilityOutcome.parse(
    await reportOf({
      ...{ kind, payload },
      deviceIds: [await addFarmDevice(plane, siteId, other)],
    }),
  );
  assert.deepEqual(reached.stages.map(({ stage }) => stage), ["tcp", "banner", "login"]);
  assert.equal(reached.hostKey?.fingerprint, other.hostKey.fingerprint);
});

Deno.test("check_reachability with a login that is refused says so and blames the credential once", async () => {
  await using stage = await setStage();
  const { siteId, enrolled } = stage;
  await using device = await startDevice(makeRecording("frr", 5, { interfaces: 2 }));
  await using _running = await startAgent(plane, enrolled);
  const deviceId = await addSilent(siteId, device);
  const { failure, reachable } = CheckReachabilityOutcome.parse(
    await reportOf({
      ...{ kind: "check_reachability", deviceIds: [deviceId] },
      payload: { login: true },
    }),
  );
  const passwords = device.log.logins.filter(({ method }) => method === "password");
  assert.deepEqual([reachable, failure?.code, passwords.length], [false, "auth_rejected", 1]);
  const [version] = await database.sql`
    select v.state from credential_versions v join devices d on d.credential_id = v.credential_id
    where d.id = ${deviceId}`;
  assert.equal(version?.state, "suspect");
});

Deno.test("run_commands keeps what each command gave, without its secrets, and says which the device refused", async () => {
  await using stage = await setStage();
  const { siteId, enrolled } = stage;
  const recording = makeRecording("frr", 6, { interfaces: 2 });
  await using device = await startDevice(recording);
  await using running = await startAgent(plane, enrolled);
  const deviceIds = [await addFarmDevice(plane, siteId, device)];
  const commands = ["show version", "show running-config", "show nonsense"];
  const { outputs } = RunCommandsOutcome.parse(
    await reportOf({ kind: "run_commands", deviceIds, payload: { commands } }),
  );
  assert.deepEqual(outputs.map(({ command }) => command), commands);
  assert.match(outputs[0]?.text ?? "", /^FRRouting \S+/);
  assert.match(outputs[1]?.text ?? "", /<secret:/);
  assert.deepEqual(outputs.map(({ failure }) => failure?.code), [
    undefined,
    undefined,
    "command_rejected",
  ]);
  const told = JSON.stringify([
    await database.sql`select * from done`,
    await database.sql`select * from attempts`,
    running.log,
    plane.log,
  ]);
  assert.ok(recording.secrets.length > 0);
  for (const secret of recording.secrets) assert.ok(!told.includes(secret), "a secret was kept");
  const [status] = await database.sql`
    select last_attempt_at from device_status where device_id = ${deviceIds[0] ?? ""}`;
  assert.deepEqual(status, { last_attempt_at: null }, "it is no backup");
});

Deno.test("run_commands ends without its outputs when they are more than a job may keep", async () => {
  await using stage = await setStage();
  const { siteId, enrolled } = stage;
  await using device = await startDevice(makeRecording("frr", 7, { interfaces: 2_000 }));
  await using _running = await startAgent(plane, enrolled);
  const deviceIds = [await addFarmDevice(plane, siteId, device)];
  const payload = { commands: ["show version", "show running-config"] };
  const jobId = await order({ kind: "run_commands", deviceIds, payload });
  const { failureCode } = await untilJob(plane, jobId, "completed", "failed", "dead");
  assert.equal(failureCode, "output_too_large");
});

Deno.test("detect_platform recognises each platform by what it shows, whatever the inventory says", async (t) => {
  await using stage = await setStage();
  const { siteId, enrolled } = stage;
  await using _running = await startAgent(plane, enrolled);
  for (const platform of ["frr", "cisco_iosxe", "juniper_junos", "linux"] as const) {
    await t.step(platform, async () => {
      await using device = await startDevice(makeRecording(platform, 8, { interfaces: 2 }));
      const { username, password } = device.login;
      const credentialId = await passwordCredential(plane, username, password ?? "");
      const deviceId = await addDevice(plane, siteId, {
        ...{ host: device.host, port: device.port, credentialId },
        platform: platform === "frr" ? "linux" : "frr",
        ...{ connectSeconds: 5, idleSeconds: 5, totalSeconds: 30 },
      });
      const report = await reportOf({ kind: "detect_platform", deviceIds: [deviceId] });
      const { ident, guesses } = report as {
        readonly ident: string;
        readonly guesses: readonly { readonly platform: string; readonly sure: string }[];
      };
      assert.match(ident, /^SSH-2\.0-/);
      assert.equal(guesses[0]?.platform, platform, JSON.stringify(report).slice(0, 1_000));
    });
  }
});

Deno.test("a job of a kind that an agent does not know is not granted to it", async () => {
  await using stage = await setStage();
  const { siteId, enrolled } = stage;
  const boot = await bootByHand(plane, enrolled);
  const deviceIds = [await addDevice(plane, siteId)];
  await order({ kind: "detect_platform", deviceIds });
  await boot.controlPlane.session({ signal: new AbortController().signal });
  await database.sql`
    update agents set kinds = '{backup_config}' where id = ${enrolled.identity.agentId}`;
  assert.deepEqual(await boot.claim(), []);
  await database.sql`
    update agents set kinds = '{detect_platform}' where id = ${enrolled.identity.agentId}`;
  assert.deepEqual((await boot.claim()).map(({ kind }) => kind), ["detect_platform"]);
});

Deno.test("createJobs() keeps a job for its time, apart from the one for now, and ends what has not begun by its deadline", async () => {
  const siteId = await makeSite(plane);
  const deviceIds = [await addDevice(plane, siteId)];
  const at = Temporal.Now.instant().add({ hours: 2 }).round("second").toString();
  const later = await order({ deviceIds, at });
  const expiresAt = Temporal.Now.instant().add({ hours: 1 }).toString();
  const now = await order({ deviceIds, expiresAt });
  assert.notEqual(now, later);
  const scheduled = await readJob(plane, later);
  assert.deepEqual([scheduled.state, scheduled.dueAt], ["scheduled", at]);
  assert.equal(await endExpired(database.db), 0);
  await database.sql`update ready set expires_at = now() where job_id = ${now}`;
  await endExpired(database.db);
  const ended = await readJob(plane, now);
  assert.deepEqual([ended.state, ended.failureCode], ["failed", "not_begun_in_time"]);
  assert.equal((await readJob(plane, later)).state, "scheduled");
});

import assert from "node:assert/strict";
import { join } from "node:path";
import {
  createLocalCredential,
  listCredentialDeliveries,
  updateCredential,
} from "@rookery/shared/api/credentials.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import {
  addDevice,
  backUpNow,
  enrolAgent,
  freshName,
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

Deno.test("an agent_local credential: the agent looks it up, the centre never holds it, and what is missing has a remedy", async () => {
  const admin = await plane.administrator();
  const body = { name: freshName("local"), localName: "core-routers" };
  const made = await admin.call(createLocalCredential, { body });
  assert.deepEqual([made.kind, made.localName, made.hasPassword], [
    "agent_local",
    "core-routers",
    false,
  ]);
  await using device = await startDevice(makeRecording("frr", 1, { interfaces: 4 }));
  const siteId = await makeSite(plane);
  const deviceId = await addDevice(plane, siteId, {
    host: device.host,
    port: device.port,
    credentialId: made.id,
  });
  await using enrolled = await enrolAgent(plane, [siteId]);
  await using running = await startAgent(plane, enrolled);
  const attempt = async () => {
    const [jobId] = await backUpNow(plane, [deviceId]);
    return await untilJob(plane, jobId ?? assert.fail(), "completed", "failed");
  };
  const absent = await attempt();
  assert.equal(absent.failureCode, "credential_missing_on_agent");
  assert.match(absent.failureDetail ?? "", /there is no local_credentials\.json/);
  const path = join(enrolled.state.path, "local_credentials.json");
  const { username, password } = device.login;
  const file = JSON.stringify({ "core-routers": { username, password } });
  await Deno.writeTextFile(path, file, { mode: 0o644 });
  await Deno.chmod(path, 0o644);
  assert.match((await attempt()).failureDetail ?? "", /chmod 600/);
  await Deno.chmod(path, 0o600);
  assert.equal((await attempt()).state, "completed");
  await Deno.writeTextFile(path, JSON.stringify({ "core-routers": { username, pass: password } }));
  const wrong = await attempt();
  assert.equal(wrong.failureCode, "credential_missing_on_agent");
  assert.match(wrong.failureDetail ?? "", /wrong at core-routers/);
  assert.equal(device.log.logins.filter(({ accepted }) => accepted).length, 1);
  const { items } = await admin.call(listCredentialDeliveries, {
    params: { credentialId: made.id },
    query: {},
  });
  assert.deepEqual(items.map(({ agentId, version }) => [agentId, version]), [
    [enrolled.identity.agentId, 1],
  ]);
  const stored = await database.sql`
    select (select json_agg(a)::text from attempts a) as attempts,
      (select json_agg(r)::text from audit_rows r) as audit, (select json_agg(d)::text from done d) as done`;
  for (const told of [running.log, plane.log, stored]) {
    assert.ok(!JSON.stringify(told).includes(password ?? assert.fail()));
  }
});

Deno.test("updateCredential() takes no secret for an agent_local credential, and another name is a new version", async () => {
  const admin = await plane.administrator();
  const body = { name: freshName("local"), localName: "one" };
  const { id: credentialId } = await admin.call(createLocalCredential, { body });
  const params = { credentialId };
  const change = admin.call(updateCredential, { params, body: { password: "secret" } });
  await assert.rejects(
    change,
    (error: unknown) => error instanceof ProblemError && error.errors[0]?.pointer === "#/password",
  );
  const { version, state } = await admin.call(updateCredential, {
    params,
    body: { localName: "two" },
  });
  assert.deepEqual([version, state], [2, "new"]);
});

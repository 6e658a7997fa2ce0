/** The agent as it is started: a process under its own permissions, and what it says. */
import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { join } from "node:path";
import { listChangeHints } from "@rookery/shared/api/change_hints.ts";
import type { SiteId } from "@rookery/shared/ids.ts";
import {
  addFarmDevice,
  backUpNow,
  makeJoinToken,
  makeSite,
  readJob,
  until,
} from "../support/agent_bench.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { freePort } from "../support/free_port.ts";
import { startDevice } from "../support/farm/device.ts";
import { makeRecording } from "../support/farm/recording.ts";
import { skipUnless } from "../support/skip.ts";

const database = testDatabase();
const port = freePort();
const plane = testControlPlane(database, { publicUrl: `http://127.0.0.1:${port}` });
const AGENT = join(import.meta.dirname ?? ".", "../../agent/main.ts");

/** Runs the agent, whoever runs the tests; it may use the `allowed` folder and no other. */
function agent(allowed: string, ...args: readonly string[]) {
  return plainAgent(allowed, ...args, "--allow-root");
}

async function plainAgent(allowed: string, ...args: readonly string[]) {
  const reads = [allowed, join(AGENT, ".."), join(AGENT, "../../shared")].join();
  const permissions = ["--allow-net", `--allow-read=${reads}`, `--allow-write=${allowed}`];
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "--cached-only", ...permissions, AGENT, ...args],
    stdin: "null",
    // A proxy in the environment is none of the agent's: what is for this machine stays on it.
    env: { NO_COLOR: "1", HTTP_PROXY: "http://127.0.0.1:2", http_proxy: "http://127.0.0.1:2" },
  }).output();
  const decoder = new TextDecoder();
  return { code, out: decoder.decode(stdout), complaint: decoder.decode(stderr) };
}

async function makeFolder() {
  const path = await Deno.makeTempDir({ prefix: "rookery-program-" });
  return {
    path,
    state: join(path, "state"),
    [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }),
  };
}

Deno.test("agent --help prints the usage to standard output", async () => {
  await using folder = await makeFolder();
  for (const flag of ["--help", "-h"]) {
    const { code, out, complaint } = await agent(folder.state, flag);
    assert.deepEqual([code, complaint], [0, ""]);
    assert.match(out, /enroll --url URL[\s\S]*--state DIR/);
  }
});

Deno.test("agent with a wrong flag prints the message and the usage to standard error", async () => {
  await using folder = await makeFolder();
  const { code, out, complaint } = await agent(folder.state, "run", "--frob");
  assert.deepEqual([code, out], [2, ""]);
  assert.match(complaint, /^Unknown option '--frob'\n[\s\S]*--state DIR/);
});

Deno.test("agent names the flags that another folder needs, without a stack", async () => {
  await using folder = await makeFolder();
  const other = join(folder.path, "other");
  const { code, complaint } = await agent(folder.state, "status", "--state", other);
  assert.equal(code, 1);
  assert.match(complaint, /`deno task agent` may use data\/agent only/);
  assert.ok(complaint.includes(`--allow-read=${other} --allow-write=${other}`), complaint);
  assert.ok(!complaint.includes("    at "), complaint);
});

Deno.test("agent enroll says why it is refused and what to do, each as one plain line", async () => {
  await using folder = await makeFolder();
  const { state } = folder;
  const token = await makeJoinToken(plane, [await makeSite(plane)]);
  const [, thumbprint] = token.joinToken.split(".");
  const enrol = (joinToken: string) =>
    agent(state, "enroll", "--url", plane.publicUrl, "--token", joinToken, "--state", state);
  const away = await enrol(token.joinToken);
  assert.match(
    away.complaint,
    /^Cannot reach http:.*refused.*\. Nothing answers there: check the address/,
  );
  await using _server = Deno.serve(
    { hostname: "127.0.0.1", port, onListen: () => {} },
    (request) => plane.app.fetch(request, { remoteAddress: "127.0.0.1" }),
  );
  const unknown = await enrol(`rkj_${"A".repeat(43)}.${thumbprint}`);
  assert.equal(
    unknown.complaint,
    "Cannot enrol: There is no such join token. Enrol with a new join token; an administrator makes one.\n",
  );
  const enrolled = await enrol(token.joinToken);
  assert.deepEqual([enrolled.code, enrolled.complaint], [0, ""]);
  const status = await agent(state, "status", "--state", state);
  assert.ok(status.out.includes(token.agentName), status.out);
  await Deno.writeTextFile(
    join(state, "settings.json"),
    '{"policy": {"networks": ["10.0.0.0"]}}',
  );
  const run = await agent(state, "run", "--state", state);
  assert.match(
    run.complaint,
    /^Cannot use .*policy\.networks\[0\] is "10\.0\.0\.0".*10\.0\.0\.0\/8/,
  );
  assert.equal(run.code, 1);
});

/** Memory of another process, in MB. */
async function residentMb(pid: number): Promise<number> {
  const status = await Deno.readTextFile(`/proc/${pid}/status`);
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) / 1_024;
}

/** So many messages a second of changes, of many users at many hosts. */
async function flood(syslogPort: number, perSecond: number, seconds: number): Promise<void> {
  const script = join(AGENT, "../../tests/support/syslog_flood.ts");
  const { success } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--allow-net", script, ...[syslogPort, perSecond, seconds].map(String)],
  }).output();
  assert.ok(success);
}

async function sendUdp(syslogPort: number, message: string): Promise<void> {
  const socket = createSocket("udp4");
  await new Promise<void>((resolve) =>
    socket.send(message, syslogPort, "127.0.0.1", () => resolve())
  );
  await new Promise<void>((resolve) => socket.close(() => resolve()));
}

async function isHinted(siteId: SiteId, user: string): Promise<boolean> {
  const admin = await plane.administrator();
  const { items } = await admin.call(listChangeHints, { params: { siteId } });
  return items.some(({ reports }) => reports.some((report) => report.user === user));
}

Deno.test("the agent as one file backs a device up, hears syslog through a flood, and may read its state folder only", async () => {
  await using folder = await makeFolder();
  const file = join(folder.path, "rookery-agent.mjs");
  const builder = join(AGENT, "../../tests/support/build_agent.ts");
  const built = await new Deno.Command(Deno.execPath(), { args: ["run", "-A", builder, file] })
    .output();
  assert.ok(built.success, new TextDecoder().decode(built.stderr));
  const siteId = await makeSite(plane);
  await using device = await startDevice(makeRecording("frr", 1));
  const deviceId = await addFarmDevice(plane, siteId, device);
  const { joinToken } = await makeJoinToken(plane, [siteId]);
  await using _server = Deno.serve(
    { hostname: "127.0.0.1", port, onListen: () => {} },
    (request) => plane.app.fetch(request, { remoteAddress: "127.0.0.1" }),
  );
  const { state } = folder;
  const start = (...args: readonly string[]) =>
    new Deno.Command(Deno.execPath(), {
      args: [
        ...["run", "--no-config", "--no-prompt", "--unstable-worker-options", "--allow-net"],
        ...[`--allow-read=${state}`, `--allow-write=${state}`, file, ...args, "--state", state],
        "--allow-root",
      ],
      stdin: "null",
      stdout: "null",
      stderr: "inherit",
    }).spawn();
  const enrolling = start("enroll", "--url", plane.publicUrl, "--token", joinToken);
  assert.ok((await enrolling.status).success);
  const policy = { networks: ["127.0.0.0/8"] };
  const syslogPort = freePort();
  const syslog = { bind: "127.0.0.1", port: syslogPort, sources: ["127.0.0.0/8"] };
  await Deno.writeTextFile(join(state, "settings.json"), JSON.stringify({ policy, syslog }));
  const running = start("run");
  try {
    const [jobId = assert.fail()] = await backUpNow(plane, [deviceId]);
    await until(
      async () => (await readJob(plane, jobId)).state === "completed",
      "the device is backed up",
      60_000,
    );
    // The first flood brings heaps to the size they work with; from there on nothing may be kept of what is heard.
    await flood(syslogPort, 5_000, 2);
    const before = await residentMb(running.pid);
    await flood(syslogPort, 5_000, 3);
    await until(async () => {
      await sendUdp(syslogPort, "<189>%SYS-5-CONFIG_I: Configured from console by ada on vty0");
      return await isHinted(siteId, "ada");
    }, "ada is told of");
    const grownMb = await residentMb(running.pid) - before;
    assert.ok(grownMb < 60, `${grownMb} MB`);
    await until(
      async () => {
        const { out } = await agent(state, "status", "--state", state);
        return new RegExp(`syslog +listens at 127.0.0.1:${syslogPort}; \\d{3,} messages`).test(out);
      },
      "the status shows the listener",
    );
  } finally {
    running.kill("SIGKILL");
    await running.status;
  }
});

skipUnless(Deno.uid() === 0, "the tests do not run as root")(
  "agent refuses to enrol and to run as root, or from a folder of somebody else",
  async () => {
    await using folder = await makeFolder();
    const { state } = folder;
    const token = `rkj_${"A".repeat(43)}.${"A".repeat(43)}`;
    const enrol = ["enroll", "--url", plane.publicUrl, "--token", token, "--state", state];
    for (const args of [enrol, ["run", "--state", state]]) {
      const { code, complaint } = await plainAgent(state, ...args);
      assert.equal(code, 1);
      assert.match(complaint, /^Cannot (enrol|run) as root: .*--allow-root does it all the same/m);
    }
    await Deno.chown(state, 65_534, 65_534);
    const { code, complaint } = await agent(state, "run", "--state", state);
    assert.equal(code, 1);
    assert.match(complaint, /belongs to user 65534, and this is user 0\. .*chown -R 0/);
  },
);

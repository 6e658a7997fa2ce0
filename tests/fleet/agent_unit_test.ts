/** The agent as an installation runs it: one file, a user without rights, the command line of its systemd unit. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { makeJoinToken, makeSite, until } from "../support/agent_bench.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { freePort } from "../support/free_port.ts";
import { ProcessGroup } from "../support/processes.ts";
import { skipUnless } from "../support/skip.ts";

const ROOT = join(import.meta.dirname ?? ".", "../..");
const UNIT = join(ROOT, "agent/rookery-agent.service");
const STATE = "/var/lib/rookery-agent";
const NOBODY = 65_534;

const database = testDatabase();
const port = freePort();
const plane = testControlPlane(database, { publicUrl: `http://127.0.0.1:${port}` });

async function execStart(): Promise<string[]> {
  const line = /^ExecStart=(.*)$/m.exec(await Deno.readTextFile(UNIT))?.[1];
  return line?.split(" ") ?? assert.fail("the unit has no ExecStart");
}

/** The permissions of a command line, with the state folder written alike. */
function permissionsIn(text: string, folder: string): string[] {
  const flags = [...text.matchAll(/--(?:allow|deny)-[a-z]+(?:=[^\s"']+)?/g)].map(([flag]) => flag);
  // From its sources the agent reads these, too: its threads are loaded from there.
  return [...new Set(flags)].map((flag) =>
    flag.replace(folder, "STATE").replace(/^(--allow-read=STATE),.*$/, "$1")
  ).sort();
}

async function answers(command: string, ...args: string[]): Promise<boolean> {
  return await new Deno.Command(command, { args, stdin: "null" }).output()
    .then(({ success }) => success, () => false);
}

Deno.test("the unit has the permissions that the README, the task and the image state", async () => {
  const stated = [
    "--allow-net",
    "--allow-read=STATE",
    "--allow-write=STATE",
    "--deny-net=169.254.169.254,[fd00:ec2::254]",
  ];
  assert.deepEqual(permissionsIn((await execStart()).join(" "), STATE), stated);
  const { tasks } = JSON.parse(await Deno.readTextFile(join(ROOT, "deno.json")));
  assert.deepEqual(permissionsIn(tasks.agent.command, "data/agent"), stated);
  const readme = await Deno.readTextFile(join(ROOT, "README.md"));
  const shown = /deno run --no-prompt[^]+?rookery-agent\.mjs run/.exec(readme)?.[0] ?? "";
  assert.deepEqual(permissionsIn(shown, STATE), stated);
  const image = /ENTRYPOINT [^]+$/.exec(await Deno.readTextFile(join(ROOT, "Dockerfile")))?.[0];
  assert.deepEqual(permissionsIn(image ?? "", "/state"), stated);
});

const testSystemd = skipUnless(
  await answers("systemd-analyze", "--version"),
  "systemd-analyze is not installed",
);

testSystemd("the unit is one that systemd understands, and leaves little open", async () => {
  await using group = await ProcessGroup.create("rookery-unit-");
  const unit = join(group.folder, "rookery-agent.service");
  // What it starts need not be installed here.
  const text = (await Deno.readTextFile(UNIT)).replace("/usr/local/bin/deno", Deno.execPath());
  await Deno.writeTextFile(unit, text);
  const run = async (...args: string[]) => {
    const { stdout, stderr } = await new Deno.Command("systemd-analyze", { args, stdin: "null" })
      .output();
    return new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  };
  assert.equal(await run("verify", "--man=no", unit), "");
  const exposure = /exposure level for \S+ ([\d.]+)/.exec(
    await run("security", "--offline=true", "--no-pager", unit),
  );
  assert.ok(Number(exposure?.[1]) <= 2, exposure?.[0]);
});

/** Whether this is root who can become somebody else, or nobody special in the first place. */
const canBeNobody = Deno.uid() !== 0 ||
  await answers("setpriv", `--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups", "true");

skipUnless(canBeNobody, "setpriv is not installed")(
  "the one file enrols, is examined, runs and drains as nobody, by the unit's command line",
  async () => {
    await using group = await ProcessGroup.create("rookery-installed-");
    const { command, state } = await install(group.folder);
    const { joinToken } = await makeJoinToken(plane, [await makeSite(plane)]);
    await using _server = Deno.serve(
      { hostname: "127.0.0.1", port, onListen: () => {} },
      (request) => plane.app.fetch(request, { remoteAddress: "127.0.0.1" }),
    );
    const start = async (...args: string[]) => {
      const lines: string[] = [];
      const [program = "", ...rest] = [...command, ...args, "--state", state];
      const child = await group.start({
        command: program,
        args: rest,
        env: { DENO_DIR: join(state, "deno"), HOME: state },
        onLine: (line) => lines.push(line),
      });
      return { child, lines };
    };
    const finish = async (...args: string[]) => {
      const { child, lines } = await start(...args);
      await child.ended;
      const { code } = await child.status;
      return { code, out: lines.join("\n") };
    };
    const enrolled = await finish("enroll", "--url", plane.publicUrl, "--token", joinToken);
    assert.equal(enrolled.code, 0, enrolled.out);
    const examined = await finish("doctor", "--json");
    assert.equal(examined.code, 0, examined.out);
    assert.equal(JSON.parse(examined.out).verdict, "ok", examined.out);
    const text = await finish("doctor", "--device", "127.0.0.1:2");
    assert.equal(text.code, 2);
    assert.match(text.out, /failed +device +refused_by_agent_policy/);
    assert.match((await finish("status")).out, /state +not running/);
    const { child, lines } = await start("run", "--log", "text");
    await until(() => lines.some((line) => / agent_started /.test(line)), "it runs", 60_000);
    await until(
      async () => {
        const status = JSON.parse((await finish("status", "--json")).out);
        return status.running && status.last?.heartbeatAnsweredAt !== null;
      },
      "the status shows an answered heartbeat",
      60_000,
    );
    const running = await finish("status");
    assert.match(running.out, /state +running since .*, process \d+, version /);
    assert.match(running.out, /session +live since .*heartbeat answered \d+ s ago/);
    assert.match(running.out, /devices +0 of 32 sessions/);
    const { fingerprint } = JSON.parse((await finish("status", "--json")).out);
    assert.match(running.out, new RegExp(`fingerprint +${fingerprint}`));
    child.kill("SIGTERM");
    assert.equal((await child.status).code, 0, lines.join("\n"));
    assert.match((await finish("status")).out, /not running; last seen running at/);
  },
);

/** Puts the agent where its user can read it, and gives that user a folder. */
async function install(folder: string): Promise<{ command: string[]; state: string }> {
  await Deno.chmod(folder, 0o755);
  const [program, deno, state] = ["rookery-agent.mjs", "deno", "state"].map((name) =>
    join(folder, name)
  ) as [string, string, string];
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--cached-only", join(ROOT, "tests/support/build_agent.ts"), program],
    stdin: "null",
  }).output();
  assert.ok(success, new TextDecoder().decode(stderr));
  await Deno.mkdir(state, { mode: 0o700 });
  const words = (await execStart()).map((word) =>
    word.replace("/usr/local/bin/deno", deno)
      .replace("/usr/local/lib/rookery/rookery-agent.mjs", program)
      .replaceAll(STATE, state)
  );
  await Deno.copyFile(Deno.execPath(), deno);
  await Deno.chmod(deno, 0o755);
  await Deno.chmod(program, 0o644);
  // What the unit itself orders begins with `run`; the other commands are started in the same way.
  const command = words.slice(0, words.indexOf(program) + 1);
  if (Deno.uid() !== 0) return { command, state };
  await Deno.chown(state, NOBODY, NOBODY);
  const became = ["setpriv", `--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups"];
  return { command: [...became, "--no-new-privs", ...command], state };
}

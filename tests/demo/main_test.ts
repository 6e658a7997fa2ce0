import assert from "node:assert/strict";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { findProcesses } from "../support/left_behind.ts";
import { readOptions } from "./options.ts";

const ROOT = join(import.meta.dirname ?? ".", "../..");
const MAIN = join(ROOT, "tests/demo/main.ts");
const PATIENCE_MS = 30_000;

/** Runs the demo in a folder for temporary files of its own. */
async function startDemo(args: readonly string[], { task = false } = {}) {
  const temp = await Deno.makeTempDir({ prefix: "rkd-" });
  const mark = `ROOKERY_DEMO_TEST=${crypto.randomUUID()}`;
  const [name = "", value = ""] = mark.split("=");
  const child = new Deno.Command(Deno.execPath(), {
    args: [...(task ? ["task", "-q", "demo"] : ["run", "-A", "--cached-only", MAIN]), ...args],
    cwd: ROOT,
    env: { TMPDIR: temp, NO_COLOR: "1", [name]: value },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  return {
    child,
    /** What of it is still there: processes and temporary files. */
    async left(): Promise<readonly string[]> {
      const processes = await findProcesses({ variable: mark, folder: temp });
      const files = await Array.fromAsync(Deno.readDir(temp));
      return [...processes.map(({ command }) => command), ...files.map((file) => file.name)];
    },
    [Symbol.asyncDispose]: () => Deno.remove(temp, { recursive: true }),
  };
}

Deno.test("demo --help prints the usage to standard output, a wrong flag to standard error", async () => {
  await using help = await startDemo(["--help"]);
  const helped = await help.child.output();
  assert.deepEqual([helped.code, helped.stderr.length], [0, 0]);
  assert.match(new TextDecoder().decode(helped.stdout), /--devices N/);
  await using wrong = await startDemo(["--devices", "1e2"]);
  const refused = await wrong.child.output();
  assert.deepEqual([refused.code, refused.stdout.length], [2, 0]);
  const complaint = new TextDecoder().decode(refused.stderr);
  assert.match(complaint, /^--devices must be a whole number from 12 to 2000\n[\s\S]*--seed N/);
});

Deno.test("readOptions() takes digits only", () => {
  assert.equal(readOptions(["--devices", "200"]).devices, 200);
  for (const text of ["1e2", "0x20", "24.0", " 24", "+24", "", "11", "2001", "-24"]) {
    assert.throws(() => readOptions([`--devices=${text}`]), TypeError, text);
  }
  for (const text of ["1e2", "x", ""]) {
    assert.throws(() => readOptions([`--seed=${text}`]), TypeError, text);
  }
});

Deno.test("demo ends quietly when nobody reads its output", async () => {
  await using demo = await startDemo(["--help"]);
  await demo.child.stdout.cancel();
  const [{ code }, complaint] = await Promise.all([demo.child.status, demo.child.stderr.text()]);
  assert.deepEqual([code, complaint], [141, ""]);
});

Deno.test("demo --once names no address and no link, which would be dead, and leaves nothing", async () => {
  await using demo = await startDemo(["--once", "--devices", "12"]);
  const { code, stdout } = await demo.child.output();
  const text = new TextDecoder().decode(stdout);
  assert.equal(code, 0, text);
  assert.match(text, /Every device ended as it should/);
  assert.doesNotMatch(text, /https?:|One-time link/);
  assert.deepEqual(await demo.left(), []);
});

Deno.test("demo ends when `deno task` alone is killed, and leaves nothing", async () => {
  await using demo = await startDemo(["--devices", "12"], { task: true });
  const { stdout, stderr } = demo.child;
  const complaints = stderr.text();
  const reader = stdout.getReader();
  await reader.read();
  await delay(1_000);
  assert.ok((await demo.left()).length > 2, "it had not begun");
  demo.child.kill("SIGKILL");
  const giveUpAt = performance.now() + PATIENCE_MS;
  let left = await demo.left();
  while (left.length > 0 && performance.now() < giveUpAt) {
    await delay(100);
    left = await demo.left();
  }
  assert.deepEqual(left, []);
  await Promise.all([reader.cancel(), complaints, demo.child.status]);
});

/** Sessions in threads of their own: what a hostile device can do to the others, and to the agent. */
import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { backUpDevice, type BackupOrder } from "../../agent/session/back_up.ts";
import { DeviceError } from "../../agent/ssh/ssh_failure.ts";
import { Pulse } from "../../agent/workers/pulse.ts";
import { SessionThreads } from "../../agent/workers/session_threads.ts";
import { startWorker } from "../../agent/workers/start_worker.ts";
import { type FarmMember, startFarmChild } from "../demo/farm_child.ts";
import { until } from "../support/agent_bench.ts";
import { blockingText, SLOW_PATTERN } from "../support/blocking_text.ts";
import { type FarmDevice, startDevice } from "../support/farm/device.ts";
import { makeRecording } from "../support/farm/recording.ts";
import { ProcessGroup } from "../support/processes.ts";
import { startScriptedShell } from "../support/scripted_shell.ts";
import { STANDING } from "../support/standing_thread.ts";
import { driverOf, orderFor } from "../support/session_order.ts";
import { longestSilence } from "../support/silence.ts";

const POLICY = { networks: ["127.0.0.0/8"] };
/** The machine may be busy: nothing here is about speed. */
const LONG = { connectSeconds: 60, idleSeconds: 60, totalSeconds: 300, maxBytes: 25_000_000 };
const never = new AbortController().signal;
/** Longer than the pause after a first fault. */
const FIRST_PAUSE_MS = 300;

type ThreadOptions = Partial<ConstructorParameters<typeof SessionThreads>[0]>;

function makeThreads(options: ThreadOptions = {}) {
  const log: { event: string; [field: string]: unknown }[] = [];
  const threads = new SessionThreads({
    policy: POLICY,
    log: (_level, event, fields) => log.push({ event, ...fields }),
    ...options,
  });
  const run = (order: BackupOrder, signal = never) => threads.run(order, { signal });
  return { threads, log, run, [Symbol.dispose]: () => threads.close() };
}

async function codeOf(ending: Promise<unknown>): Promise<string> {
  return await ending.then(() => "complete", (error: unknown) => {
    if (error instanceof DeviceError) return error.code;
    throw error;
  });
}

/**
 * A device whose answer, with a driver that was made for it, keeps a regular expression busy for some seconds. No longer
 * than a test needs, for nothing stops a thread in the middle of it: it goes on using a core beside the tests that follow.
 */
async function startSpinner({ blockedMs }: { readonly blockedMs: number }) {
  const recording = makeRecording("frr", 7);
  const text = blockingText(blockedMs);
  const outputs = new Map(recording.outputs).set("show version", text);
  const device = await startDevice({ ...recording, outputs });
  const field = { name: "model" as const, pattern: SLOW_PATTERN };
  const driver = { ...driverOf(device), facts: [{ command: "show version", fields: [field] }] };
  const asked = () => device.log.commands.includes("show version");
  return {
    device,
    order: orderFor(device, { driver, limits: LONG }),
    blocked: async () => {
      await until(asked, "the spinner was asked", 60_000);
      await delay(1_500);
    },
    [Symbol.asyncDispose]: () => device.stop(),
  };
}

for (const platform of ["cisco_iosxe", "linux"] as const) {
  Deno.test(`a session of ${platform} in a thread reports what it reports without one`, async () => {
    await using device = await startDevice(makeRecording(platform, 3));
    using scene = makeThreads();
    const order = orderFor(device, { limits: LONG });
    const here = await backUpDevice(order, { signal: never });
    const there = await scene.run(order);
    assert.deepEqual(there.facts, here.facts);
    assert.deepEqual(there.hostKey, here.hostKey);
    assert.deepEqual(there.algorithms, here.algorithms);
    const { outcome, raw } = there.captures[0] ?? assert.fail();
    assert.equal(outcome.normalisedSha256, here.captures[0]?.outcome.normalisedSha256);
    assert.equal(new TextDecoder().decode(raw), device.sent.at(-1));
  });
}

Deno.test("a failure comes out of a thread with its code, its words and the key that was shown", async () => {
  await using device = await startDevice(makeRecording("frr", 4));
  using scene = makeThreads();
  const pinned = { type: "ssh-ed25519", fingerprint: `SHA256:${"A".repeat(43)}` };
  const order = orderFor(device, { hostKeys: [pinned], limits: LONG });
  const [here, there] = await Promise.all([
    backUpDevice(order, { signal: never }).catch((error: DeviceError) => error),
    scene.run(order).catch((error: DeviceError) => error),
  ]);
  assert.ok(here instanceof DeviceError && there instanceof DeviceError);
  assert.deepEqual([there.code, there.message], ["host_key_changed", here.message]);
  assert.deepEqual(there.hostKey, here.hostKey);
});

/** Code that runs with the permissions of a session thread and tries what it may not. */
const PROBE = `
const tries = {
  read: () => Deno.readTextFile("/etc/hostname"),
  write: () => Deno.writeTextFile("/tmp/rookery-probe", "x"),
  env: () => Deno.env.get("HOME"),
  run: () => new Deno.Command("id").output(),
  sys: () => Deno.hostname(),
  ffi: () => Deno.dlopen("libc.so.6", {}),
  import: () => import(["file:///etc/hostname"].join("")),
  worker: () => new Worker("data:text/javascript,", { type: "module", deno: { permissions: { read: true } } }),
  inside: () => Deno.connect({ hostname: "127.0.0.1", port: 1 }),
  outside: () => Deno.connect({ hostname: "192.0.2.1", port: 1 }),
};
onmessage = async () => {
  const results = {};
  for (const [name, attempt] of Object.entries(tries)) {
    try { await attempt(); results[name] = "allowed"; } catch (error) { results[name] = /^Requires/.test(error.message) ? "NotCapable" : error.name; }
  }
  postMessage(results);
};`;

async function probe(policy: { networks?: string[] }) {
  const worker = startWorker(policy, `data:text/javascript,${encodeURIComponent(PROBE)}`);
  try {
    const told = Promise.withResolvers<Record<string, string>>();
    worker.onmessage = ({ data }) => told.resolve(data);
    worker.onerror = (event) => told.reject(new Error(event.message));
    worker.postMessage("go");
    return await told.promise;
  } finally {
    worker.terminate();
  }
}

Deno.test("a session thread may use the network and nothing else, and of that what the policy names", async () => {
  const { inside, outside, ...others } = await probe({ networks: ["127.0.0.0/8"] });
  for (const [what, result] of Object.entries(others)) {
    assert.equal(result, "NotCapable", `${what}: ${result}`);
  }
  // Nothing listens there, but it got as far as that.
  assert.equal(inside, "ConnectionRefused");
  assert.equal(outside, "NotCapable");
});

Deno.test("the thread itself asks the policy about the address, whatever the main thread resolved", async () => {
  await using device = await startDevice(makeRecording("frr", 5));
  const worker = startWorker({});
  try {
    const answer = Promise.withResolvers<{ code?: string }>();
    worker.onmessage = ({ data }) => data.type === "progress" || answer.resolve(data);
    const pulse = new Pulse().memory;
    worker.postMessage({ type: "open", pulse, policy: { networks: ["192.0.2.0/24"] } });
    const { credential, ...order } = orderFor(device);
    const bytes = new TextEncoder().encode(JSON.stringify(credential));
    const sent = { ...order, addresses: [device.host] };
    worker.postMessage({ type: "run", id: 1, order: sent, credential: bytes }, [bytes.buffer]);
    assert.equal((await answer.promise).code, "refused_by_agent_policy");
    assert.equal(device.log.connections, 0);
  } finally {
    worker.terminate();
  }
});

/** Many short lines cost the most. */
function hostileText(text: string): string {
  const [head = "", tail = ""] = text.split("!\ninterface ", 1).concat(
    text.split("!\n").at(-1) ?? "",
  );
  return `${head}\n${"xyz\n".repeat(500_000)}!\n${tail}`;
}

type Reachable = Pick<FarmMember, "host" | "port" | "platform" | "login">;

function orderOf({ host, port, platform, login }: Reachable): BackupOrder {
  return orderFor({ host, port, platform, login } as unknown as FarmDevice, { limits: LONG });
}

Deno.test("megabytes of hostile text do not hold up the thread that sends heartbeats", async () => {
  await using group = await ProcessGroup.create("rookery-threads-");
  const farm = await startFarmChild(group, { devices: 8, seed: 11, faults: [] });
  const hostile = farm.devices.find(({ platform }) => platform === "frr") ?? assert.fail();
  await farm.setConfiguration(hostile.port, hostileText(hostile.text));
  const here = await longestSilence(() => backUpDevice(orderOf(hostile), { signal: never }));
  // The garbage of the comparison is in this process, too.
  using scene = makeThreads({ limits: { mostMib: 4_096 } });
  const silence = () => longestSilence(() => scene.run(orderOf(hostile)));
  // What the work itself holds up, it holds up every time; what a busy machine does, hardly twice.
  let gap = await silence();
  if (gap >= here / 2) gap = Math.min(gap, await silence());
  assert.ok(gap < here / 2, `nothing else ran for ${gap} of ${here} ms`);
  assert.deepEqual(scene.log, []);
});

Deno.test("a device that blocks its thread for good holds up nobody who comes after it", async () => {
  await using spinner = await startSpinner({ blockedMs: 7_000 });
  await using other = await startDevice(makeRecording("frr", 15));
  using scene = makeThreads();
  const controller = new AbortController();
  let ended = false;
  const ending = codeOf(scene.run(spinner.order, controller.signal)).finally(() => ended = true);
  await spinner.blocked();
  const order = orderFor(other, { limits: LONG });
  assert.deepEqual(
    await Promise.all([1, 2, 3].map(() => codeOf(scene.run(order)))),
    ["complete", "complete", "complete"],
  );
  assert.equal(ended, false);
  controller.abort(new DeviceError("cancelled"));
  assert.equal(await ending, "cancelled", "it is ended long before it counts as stalled");
  assert.equal(scene.log[0]?.why, "aborted");
});

Deno.test("a thread that stands still is ended: the one to blame is named, the others are tried again", async () => {
  await using spinner = await startSpinner({ blockedMs: 5_000 });
  await using slow = await startDevice(makeRecording("frr", 8), { fault: "slow_drip" });
  using scene = makeThreads({ threads: 1, limits: { stallMs: 2_000 } });
  const bystander = codeOf(scene.run(orderFor(slow, { limits: LONG })));
  const culprit = codeOf(scene.run(spinner.order));
  assert.equal(await culprit, "session_disruptive");
  assert.equal(await bystander, "agent_fault");
  const [ended] = scene.log;
  assert.deepEqual({ ...ended, detail: "" }, {
    event: "session_thread_ended",
    why: "stalled",
    detail: "",
    device: `127.0.0.1:${spinner.device.port}`,
    sessions: 2,
  });
  await slow.setFault(undefined);
  assert.equal(await codeOf(scene.run(orderFor(slow, { limits: LONG }))), "complete");
});

Deno.test("a session stands still while nobody says that the fence holds, as when the process was stopped", async () => {
  await using device = await startDevice(makeRecording("frr", 5), { fault: "slow_drip" });
  using scene = makeThreads();
  const { threads } = scene;
  const hold = () => setInterval(() => threads.hold(), 100);
  let holding = hold();
  const running = scene.run(orderFor(device, { limits: LONG }));
  await until(() => device.log.commands.includes("show running-config"), "it reads");
  clearInterval(holding);
  // Its configuration takes longer than a second to come; what comes after it must wait.
  await delay(4_000);
  assert.equal(device.log.commands.at(-1), "show running-config");
  holding = hold();
  const { captures } = await running;
  clearInterval(holding);
  assert.equal(captures.length, 1);
  assert.equal(device.log.commands.at(-1), "exit");
});

Deno.test("wipe() ends a thread that does not listen, with its sockets, and the next session gets a new one", async () => {
  await using slow = await startDevice(makeRecording("frr", 9), { fault: "slow_drip" });
  await using other = await startDevice(makeRecording("frr", 11));
  using scene = makeThreads({ threads: 1, url: STANDING.url });
  const controller = new AbortController();
  const start = (order: BackupOrder) => codeOf(scene.run(order, controller.signal));
  const reading = start(orderFor(slow, { limits: LONG }));
  const { commands } = slow.log;
  await until(() => commands.includes("show running-config"), "it is read", 60_000);
  const standing = start({ ...orderFor(other, { limits: LONG }), target: STANDING.target });
  await delay(FIRST_PAUSE_MS);
  const typed = commands.length;
  controller.abort(new DeviceError("lease_lost"));
  scene.threads.wipe();
  const next = codeOf(scene.run(orderFor(other, { limits: LONG })));
  assert.deepEqual(await Promise.all([reading, standing]), ["lease_lost", "lease_lost"]);
  assert.equal(await next, "complete");
  await until(() => slow.log.open === 0, "its connection is closed", 60_000);
  assert.equal(commands.length, typed, "the device was spoken to after the fence");
  assert.deepEqual(scene.log, [], "being fenced is no fault");
});

/** A session thread that hears nothing of the end of its sessions. */
const DEAF = `
import ${JSON.stringify(import.meta.resolve("../../agent/workers/session_worker.ts"))};
const sound = globalThis.onmessage;
globalThis.onmessage = (event) => event.data.type === "abort" || sound(event);`;

Deno.test("wipe() lets no session say another word, even one that has not heard of its end", async () => {
  const wiped = Promise.withResolvers<void>();
  const text = "Current configuration:\r\n!\r\nfrr version 10.2\r\n!\r\nend\r\nbox# ";
  await using device = await startScriptedShell({
    "": "box# ",
    "\n": "\r\nbox# ",
    "terminal length 0\n": "terminal length 0\r\nbox# ",
    "show running-config\n": ["show running-config\r\n", wiped.promise, text],
  });
  using scene = makeThreads({ url: `data:text/javascript,${encodeURIComponent(DEAF)}` });
  const controller = new AbortController();
  const { host, port } = device;
  const login = { username: "netops", password: "p" };
  const ending = codeOf(
    scene.run(orderOf({ host, port, platform: "frr", login }), controller.signal),
  );
  await until(() => device.typed.at(-1)?.startsWith("show") ?? false, "it is read", 60_000);
  controller.abort(new DeviceError("lease_lost"));
  scene.threads.wipe();
  wiped.resolve();
  assert.equal(await ending, "lease_lost");
  assert.equal(device.typed.at(-1), "show running-config\n");
  assert.deepEqual(scene.log, [], "being fenced is no fault");
});

/** A session thread that falls over when it is given an order for port 1, and is sound otherwise. */
const CRASHING = `
import ${JSON.stringify(import.meta.resolve("../../agent/workers/session_worker.ts"))};
const sound = globalThis.onmessage;
globalThis.onmessage = (event) => {
  if (event.data.order?.target.port === 1) setTimeout(() => { throw new Error("fell over") });
  else sound(event);
};`;

Deno.test("a thread that crashes fails its own sessions only, and is started again", async () => {
  await using slow = await startDevice(makeRecording("frr", 10), { fault: "slow_drip" });
  await using quick = await startDevice(makeRecording("frr", 12));
  using scene = makeThreads({
    fullSessions: 0,
    url: `data:text/javascript,${encodeURIComponent(CRASHING)}`,
  });
  const untouched = codeOf(scene.run(orderFor(slow, { limits: LONG })));
  await until(() => slow.log.open > 0, "the slow session is open", 60_000);
  const crashing = orderFor(quick, { limits: LONG });
  const order = { ...crashing, target: { host: "127.0.0.1", port: 1 } };
  assert.equal(await codeOf(scene.run(order)), "session_disruptive");
  assert.deepEqual(scene.log.map(({ why, sessions }) => [why, sessions]), [["crashed", 1]]);
  assert.equal(await codeOf(scene.run(crashing)), "complete");
  assert.equal(await untouched, "complete");
});

Deno.test("a thread that goes on crashing is started again after longer and longer pauses", async () => {
  await using quick = await startDevice(makeRecording("frr", 14));
  using scene = makeThreads({
    threads: 1,
    url: `data:text/javascript,${encodeURIComponent(CRASHING)}`,
  });
  const crashing = { ...orderFor(quick, { limits: LONG }), target: { host: "127.0.0.1", port: 1 } };
  const startedAt = performance.now();
  for (let crashes = 0; crashes < 4; crashes++) {
    assert.equal(await codeOf(scene.run(crashing)), "session_disruptive");
  }
  // At least the first three pauses: a quarter, a half and a whole second.
  assert.ok(performance.now() - startedAt >= 1_700);
  assert.equal(await codeOf(scene.run(orderFor(quick, { limits: LONG }))), "complete");
});

Deno.test("threads that are blocked for good are counted in both places, and told of once", async () => {
  let told = 0;
  using scene = makeThreads({
    fullSessions: 0,
    limits: { stallMs: STANDING.stallMs },
    url: STANDING.url,
    onStuck: () => told++,
  });
  await using device = await startDevice(makeRecording("frr", 16));
  const standing = { ...orderFor(device), target: STANDING.target };
  // One in each thread: neither place comes to the third by itself, and the fourth is not told of.
  for (const afterwards of [0, 1]) {
    const both = await Promise.all([1, 2].map(() => codeOf(scene.run(standing))));
    assert.deepEqual(both, ["session_disruptive", "session_disruptive"]);
    assert.equal(told, afterwards);
    await delay(FIRST_PAUSE_MS);
  }
  const ends = scene.log.map(({ why, sessions }) => [why, sessions]);
  assert.deepEqual(ends, Array(4).fill(["stalled", 1]));
});

/** Threads that were taken over, and what each of them says to an order. */
const LIES: Record<string, string> = {
  "another form": `postMessage({ hello: 1 })`,
  "an answer for another session": `postMessage({ ...failed, id: id + 1 })`,
  "a text with another digest": `postMessage({ ...completed, id }, [])`,
  "a text that is too long":
    `postMessage({ type: "failed", id, code: "auth_rejected", message: "x".repeat(5000) })`,
};
function liar(lie: string): string {
  return `const failed = { type: "failed", code: "auth_rejected", message: "" };
  const digest = "0".repeat(64);
  const outcome = { name: "running", grade: "marker", rawSha256: digest, normalisedSha256: digest,
    bytes: 3, lines: 1, unchanged: false, confirmedShrunk: false };
  const algorithms = { kex: "k", cipher: "c", mac: "m", hostKey: "h" };
  const hostKey = { type: "ssh-ed25519", fingerprint: "SHA256:" + "A".repeat(43) };
  const completed = { type: "completed", report: { captures: [{ outcome, raw: new Uint8Array(3) }],
    facts: {}, hostKey, algorithms } };
  onmessage = ({ data: { type, id } }) => { if (type === "run") ${lie}; };`;
}

for (const [what, lie] of Object.entries(LIES)) {
  Deno.test(`a thread that says ${what} is not believed and ended`, async () => {
    await using device = await startDevice(makeRecording("frr", 13));
    using scene = makeThreads({ url: `data:text/javascript,${encodeURIComponent(liar(lie))}` });
    assert.equal(await codeOf(scene.run(orderFor(device))), "agent_fault");
    assert.deepEqual(scene.log.map(({ why }) => why), ["untrustworthy"]);
  });
}

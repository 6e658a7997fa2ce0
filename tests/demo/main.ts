/**
 * `deno task demo`: a whole Rookery on this machine, with its own database, two sites, two agents and a farm of
 * devices of which six fail on purpose. `--once` ends after the table, `--json` is for programs.
 */
import { parseArgs } from "node:util";
import type { DeviceId } from "@rookery/shared/ids.ts";
import { ProcessGroup } from "../support/processes.ts";
import { makeProgressBar } from "./progress.ts";
import { DEMO_FAULTS, type Row } from "./round.ts";
import { setStage, type Stage } from "./stage.ts";
import { formatTable } from "./table.ts";

const USAGE = `deno task demo [--devices N] [--once] [--json] [--seed N]

  --devices N  how many devices (default 24, at least 12)
  --once       end after the table: exit code 0 when every device ended as it should, else 1
  --json       print the same for programs, and no progress
  --seed N     other configurations (default 1)
`;

const LEAST_DEVICES = 12;

interface DemoOptions {
  readonly devices: number;
  readonly seed: number;
  readonly once: boolean;
  readonly json: boolean;
}

function readOptions(args: readonly string[]): DemoOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      devices: { type: "string", default: "24" },
      seed: { type: "string", default: "1" },
      once: { type: "boolean", default: false },
      json: { type: "boolean", default: false },
    },
  });
  const devices = Number(values.devices);
  const seed = Number(values.seed);
  if (!Number.isInteger(devices) || devices < LEAST_DEVICES || devices > 2_000) {
    throw new TypeError(`--devices must be a whole number from ${LEAST_DEVICES} to 2000`);
  }
  if (!Number.isInteger(seed)) throw new TypeError("--seed must be a whole number");
  return { devices, seed, once: values.once, json: values.json };
}

interface Played {
  readonly url: string;
  readonly link: string;
  readonly rounds: readonly { readonly title: string; readonly rows: readonly Row[] }[];
  readonly asExpected: boolean;
}

async function play(group: ProcessGroup, options: DemoOptions): Promise<Played> {
  const say = (text: string) => options.json || print(text);
  say(`Starting a control plane, ${options.devices} devices and two agents ...`);
  const stage = await setStage(group, { ...options, faults: DEMO_FAULTS });
  const { installation } = stage;
  const bar = (title: string) => makeProgressBar(title, { quiet: options.json });
  const first = await stage.playRound({ onProgress: bar("Round 1") });
  const changed = await changeOne(stage);
  const second = await stage.playRound({ changed, onProgress: bar("Round 2") });
  return {
    url: installation.url,
    link: await installation.recoveryLink(),
    rounds: [{ title: "Round 1", rows: first }, {
      title: "Round 2, with one configuration changed",
      rows: second,
    }],
    asExpected: [...first, ...second].every((row) => row.asExpected),
  };
}

/** Changes one line of one sound device. */
async function changeOne({ farm, devices }: Stage): Promise<ReadonlySet<DeviceId>> {
  const device = devices.find(({ member }) =>
    member.fault === null && / description /.test(member.text)
  );
  if (!device) throw new Error("No device has a description to change");
  const { port, text } = device.member;
  await farm.setConfiguration(
    port,
    text.replace(/ description .*/, " description changed between the rounds"),
  );
  return new Set([device.deviceId]);
}

function show({ rounds, url, link, asExpected }: Played): void {
  for (const { title, rows } of rounds) {
    print(`\n${title}\n\n${formatTable(rows)}`);
    for (const { device, diff } of rows) if (diff) print(`\nWhat changed on ${device}:\n\n${diff}`);
  }
  print(
    asExpected
      ? "\nEvery device ended as it should; the six that failed were made to."
      : "\nSome devices did not end as they should: they are marked (!).",
  );
  print(`\nAPI and its documentation   ${url}/api/docs`);
  print(`One-time link (user admin)  ${link}`);
}

const encoder = new TextEncoder();

function print(text: string): void {
  Deno.stdout.writeSync(encoder.encode(`${text}\n`));
}

/** Resolves when somebody wants the demo to end. */
function untilInterrupted(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, resolve);
  });
}

async function main(options: DemoOptions): Promise<number> {
  const interrupted = untilInterrupted();
  await using group = await ProcessGroup.create("rookery-demo-");
  const playing = play(group, options);
  const played = await Promise.race([playing, interrupted]);
  if (!played) {
    // What it waits for is being taken away: how it fails is of no interest.
    playing.catch(() => {});
    return 130;
  }
  if (options.json) print(JSON.stringify(played, null, 2));
  else show(played);
  if (!options.once) {
    if (!options.json) print("\nIt stays up until Ctrl-C.");
    await interrupted;
  }
  return played.asExpected ? 0 : 1;
}

if (import.meta.main) {
  let options: DemoOptions;
  try {
    options = readOptions(Deno.args);
  } catch (error) {
    print(`${error instanceof Error ? error.message : error}\n\n${USAGE}`);
    Deno.exit(2);
  }
  Deno.exit(await main(options));
}

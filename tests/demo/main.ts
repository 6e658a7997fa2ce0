/**
 * `deno task demo`: a whole Rookery on this machine, with its own database, two sites, two agents and a farm of
 * devices of which six fail on purpose. `--once` ends after the table, `--json` is for programs.
 */
import type { DeviceId } from "@rookery/shared/ids.ts";
import { ProcessGroup } from "../support/processes.ts";
import { type DemoOptions, readOptions, USAGE } from "./options.ts";
import { makeProgressBar } from "./progress.ts";
import { DEMO_FAULTS, type Row } from "./round.ts";
import { setStage, type Stage } from "./stage.ts";
import { formatTable } from "./table.ts";
import { untilUnwanted } from "./until_unwanted.ts";

const INTERRUPTED = 130;
const OUTPUT_CLOSED = 141;

interface Played {
  /** Where the demo stays up; absent with `--once`, when it does not. */
  readonly url?: string;
  readonly link?: string;
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
    ...(options.once ? {} : { url: installation.url, link: await installation.recoveryLink() }),
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
  if (url === undefined) return;
  print(`\nAPI and its documentation   ${url}/api/docs`);
  print(`One-time link (user admin)  ${link}`);
}

const encoder = new TextEncoder();

function print(text: string): void {
  Deno.stdout.writeSync(encoder.encode(`${text}\n`));
}

function complain(text: string): void {
  Deno.stderr.writeSync(encoder.encode(`${text}\n`));
}

async function main(options: DemoOptions): Promise<number> {
  const interrupted = untilUnwanted();
  await using group = await ProcessGroup.create("rookery-demo-");
  const playing = play(group, options);
  const played = await Promise.race([playing, interrupted]);
  if (!played) {
    // What it waits for is being taken away: how it fails is of no interest.
    playing.catch(() => {});
    return INTERRUPTED;
  }
  if (options.json) print(JSON.stringify(played, null, 2));
  else show(played);
  if (!options.once) {
    if (!options.json) print("\nIt stays up until Ctrl-C.");
    await interrupted;
  }
  return played.asExpected ? 0 : 1;
}

/** Whoever closed our output wants no more of it, and no complaint either. */
function codeOfFailure(error: unknown): number {
  if (error instanceof Deno.errors.BrokenPipe) return OUTPUT_CLOSED;
  complain(`The demo failed: ${error instanceof Error ? error.stack : error}`);
  return 1;
}

async function runProgram(args: readonly string[]): Promise<number> {
  let options: DemoOptions;
  try {
    options = readOptions(args);
  } catch (error) {
    complain(`${error instanceof Error ? error.message : error}\n\n${USAGE.trimEnd()}`);
    return 2;
  }
  if (!options.help) return await main(options);
  print(USAGE.trimEnd());
  return 0;
}

if (import.meta.main) Deno.exit(await runProgram(Deno.args).catch(codeOfFailure));

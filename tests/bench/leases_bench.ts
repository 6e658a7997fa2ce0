/**
 * `deno task bench:leases`: Rookery's queue beside pg-boss and graphile-worker, on one durable PostgreSQL, in turns. Prints a
 * table of medians and ratios, and keeps every figure as JSON in `tests/bench/results/`. `--quick` is a smoke run whose figures say
 * nothing; `--rounds=N` and `--jobs=N` change how much is played, `--cells=a,b` which cells. `--night` plays a night of a million
 * devices and ten thousand agents instead (`--devices=N`, `--minutes=N`: how many of its 360 minutes).
 */
import { join } from "node:path";
import { CONFIGURATION, startBenchServer } from "./leases/bench_server.ts";
import { CELLS, type Scale } from "./leases/cells.ts";
import { CONNECTIONS } from "./leases/contender.ts";
import { graphileWorker } from "./leases/graphile_worker.ts";
import { playNight } from "./leases/night.ts";
import { reportOf } from "./leases/night_report.ts";
import { pgBoss } from "./leases/pg_boss.ts";
import { playRounds, type Result } from "./leases/rounds.ts";
import { rookery } from "./leases/rookery.ts";
import { promisesOf, tableOf } from "./leases/table.ts";

const BASE = pgBoss({ fenced: true });
const CONTENDERS = [
  rookery,
  BASE,
  pgBoss({ fenced: false }),
  graphileWorker({ batching: true }),
  graphileWorker({ batching: false }),
];

const FULL = {
  jobs: 100_000,
  backlog: 1_000_000,
  groups: 2_000,
  rate: 200,
  rateSeconds: 30,
  rounds: 5,
};
const QUICK: typeof FULL = {
  jobs: 200,
  backlog: 400,
  groups: 20,
  rate: 20,
  rateSeconds: 1,
  rounds: 1,
};

function numberOf(args: readonly string[], name: string): number | undefined {
  const given = args.find((arg) => arg.startsWith(`--${name}=`))?.split("=")[1];
  return given === undefined ? undefined : Number(given);
}

const DEVICES_PER_AGENT = 100;

async function night(args: readonly string[]): Promise<void> {
  const devices = numberOf(args, "devices") ?? 1_000_000;
  const agents = Math.max(1, Math.round(devices / DEVICES_PER_AGENT));
  const plan = { devices, agents, windowMinutes: 360, minutes: numberOf(args, "minutes") ?? 10 };
  await using server = await startBenchServer();
  const played = await playNight(server, plan, (text) => say(Deno.stderr, text));
  const machine = `${navigator.hardwareConcurrency} cores, load ${Deno.loadavg()[0]?.toFixed(1)}`;
  say(Deno.stdout, `${reportOf(played, plan)}\n\n${machine}, PostgreSQL ${server.version}`);
}

/** What the command line asks for. */
function planOf(args: readonly string[]): Scale & { readonly rounds: number } {
  const plan = args.includes("--quick") ? QUICK : FULL;
  const asked = (name: string) => numberOf(args, name);
  const jobs = asked("jobs") ?? plan.jobs;
  const share = jobs / plan.jobs;
  return {
    ...plan,
    jobs,
    backlog: Math.round(plan.backlog * share),
    groups: Math.max(1, Math.round(plan.groups * share)),
    rateSeconds: Math.max(1, Math.round(plan.rateSeconds * Math.min(1, 10 * share))),
    rounds: asked("rounds") ?? plan.rounds,
  };
}

async function main(args: readonly string[]): Promise<void> {
  const { rounds, ...scale } = planOf(args);
  const names = args.find((arg) => arg.startsWith("--cells="))?.slice("--cells=".length).split(",");
  const cells = CELLS.filter(({ name }) => !names || names.includes(name));
  const startedAt = performance.now();
  const step = (text: string) => {
    const seconds = ((performance.now() - startedAt) / 1_000).toFixed(0).padStart(5);
    say(Deno.stderr, `${seconds} s  ${text}; load ${Deno.loadavg()[0]?.toFixed(1)}`);
  };
  await using server = await startBenchServer();
  const results = await playRounds(server, { cells, contenders: CONTENDERS, rounds, scale, step });
  const machine = `${navigator.hardwareConcurrency} cores, load ${Deno.loadavg()[0]?.toFixed(1)} ` +
    `at the end, Deno ${Deno.version.deno}, PostgreSQL ${server.version}; ${CONNECTIONS} connections, ` +
    `${rounds} rounds`;
  const settings = Object.entries(CONFIGURATION).map(([name, value]) => `${name}=${value}`);
  say(Deno.stdout, `${tableOf(results, BASE.name)}\n\n${promisesOf(results)}`);
  say(Deno.stdout, `\n${machine}\n${settings.join(" ")}`);
  if (!args.includes("--quick")) await keep({ machine, settings, scale, results });
}

function say(to: typeof Deno.stdout, text: string): void {
  to.writeSync(new TextEncoder().encode(`${text}\n`));
}

/** Every figure of every round. */
async function keep(
  run: { readonly results: readonly Result[]; readonly [name: string]: unknown },
) {
  const folder = join(import.meta.dirname ?? ".", "results");
  await Deno.mkdir(folder, { recursive: true });
  const at = Temporal.Now.instant().toString({ smallestUnit: "second" }).replaceAll(":", "");
  await Deno.writeTextFile(join(folder, `leases-${at}.json`), JSON.stringify(run, null, 2));
}

if (import.meta.main) await (Deno.args.includes("--night") ? night(Deno.args) : main(Deno.args));

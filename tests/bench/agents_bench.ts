/**
 * `deno task bench:agents`: simulated agents (real keys, proofs and results, no devices) against two replicas of the control
 * plane and one durable PostgreSQL, all on this machine; then a real agent against a farm of devices. Prints one table.
 * `--quick` is a smoke run with few of everything, whose figures say nothing; `--agents=N` plays another number of agents, a
 * tenth of them at work; `--no-fleet` and `--no-agent` leave out one half. Linux only: it reads /proc.
 */
import { loadKeyRing } from "../../control-plane/keys/key_ring.ts";
import { measureCrypto } from "./agents/crypto_costs.ts";
import { startLoad } from "./agents/load.ts";
import { busy, idle, withDatabase } from "./agents/phases.ts";
import { populate } from "./agents/populate.ts";
import { measureRealAgent } from "./agents/real_agent.ts";
import { agentRows, busyRows, idleRows, partRows } from "./agents/report.ts";
import { openStage, type Stage } from "./agents/stage.ts";
import { measureStatement } from "./agents/statements.ts";
import { type Row, tableOf } from "./agents/table.ts";

const FULL = {
  agents: 10_000,
  busySites: 1_000,
  devicesPerSite: 12,
  processes: 2,
  settleSeconds: 30,
  idleSeconds: 50,
  busySeconds: 25,
  perSecond: 100,
  times: 1_000,
  sessions: 100,
  agentIdleSeconds: 8,
};
type Plan = typeof FULL;
const QUICK: Plan = {
  ...FULL,
  agents: 40,
  busySites: 8,
  devicesPerSite: 4,
  settleSeconds: 1,
  idleSeconds: 1,
  busySeconds: 1,
  perSecond: 10,
  times: 20,
  sessions: 4,
  agentIdleSeconds: 1,
};

/** The plan that the command line asks for. */
function planOf(args: readonly string[]): Plan {
  const plan = args.includes("--quick") ? QUICK : FULL;
  const asked = Number(args.find((arg) => arg.startsWith("--agents="))?.slice("--agents=".length));
  if (!(asked >= 20)) return plan;
  const agents = asked - asked % plan.processes;
  const busySites = Math.floor(agents / 10 / plan.processes) * plan.processes;
  return { ...plan, agents, busySites };
}

function say(text: string): void {
  Deno.stderr.writeSync(new TextEncoder().encode(`${text}\n`));
}

async function main(args: readonly string[]): Promise<void> {
  const plan = planOf(args);
  const startedAt = performance.now();
  const step = (text: string) => {
    const seconds = (performance.now() - startedAt) / 1_000;
    say(`${seconds.toFixed(0).padStart(4)} s  ${text}; load ${Deno.loadavg()[0]?.toFixed(1)}`);
  };
  const rows: Row[] = [];
  const circumstances = `${navigator.hardwareConcurrency} cores, load ${
    Deno.loadavg()[0]?.toFixed(1)
  } before the start, Deno ${Deno.version.deno}, PostgreSQL with fsync`;
  {
    await using stage = await openStage({ replicas: 2 });
    if (!args.includes("--no-fleet")) rows.push(...await measureFleet(stage, plan, step));
    if (!args.includes("--no-agent")) {
      step("a real agent, and a bare client");
      const idleSeconds = plan.agentIdleSeconds;
      rows.push(...agentRows(await measureRealAgent(stage, { ...plan, idleSeconds })));
    }
    step("clearing up");
  }
  const table = `${tableOf(rows)}\n\n${circumstances}\n`;
  Deno.stdout.writeSync(new TextEncoder().encode(table));
}

async function measureFleet(
  stage: Stage,
  plan: Plan,
  step: (text: string) => void,
): Promise<Row[]> {
  step(`${plan.agents} agents and their sites go into the database`);
  const keyRing = await loadKeyRing(stage.keyFile, { create: false });
  const siteIds = await withDatabase(stage, (db) => populate({ db, keyRing }, plan));
  await using load = await startLoad(stage, plan);
  step("every agent opens its session");
  await load.ask({ order: "open" });
  const on = { stage, load };
  step("all of them wait for work");
  const waiting = await idle(on, { ...plan, seconds: plan.idleSeconds });
  step(`${plan.busySites} of them work`);
  const working = await busy(on, { ...plan, siteIds, seconds: plan.busySeconds });
  for (const { calls, text } of working.statements.slice(0, 12)) say(`       ${calls} × ${text}`);
  const { closed, paced } = working;
  say(
    `       turns refused: ${closed.result.failed} at full load, ${paced.result.failed} at a fixed rate`,
  );
  say(`       replies that were no success: ${JSON.stringify((await load.requests()).problems)}`);
  step("cryptography and statements by themselves");
  const crypto = await measureCrypto(plan.times);
  const statementMs = await withDatabase(stage, (db) => measureStatement(db, plan.times * 4));
  const asked = working.statements.reduce((sum, { calls }) => sum + calls, 0);
  const statements = asked / Math.max(1, working.closed.result.jobs);
  return [
    ...idleRows(plan.agents, waiting),
    ...busyRows(plan.busySites, working),
    ...partRows({ closed: working.closed, crypto, statements, statementMs }),
  ];
}

if (import.meta.main) await main(Deno.args);

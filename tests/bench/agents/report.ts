/** From measurements to rows. */
import type { CryptoCosts } from "./crypto_costs.ts";
import type { Driven } from "./orders.ts";
import type { Busy, Idle, Stretch } from "./phases.ts";
import type { RealAgent } from "./real_agent.ts";
import { quantile, type Row } from "./table.ts";

export function idleRows(agents: number, { result, cores }: Stretch<Idle>): Row[] {
  const of = `${agents.toLocaleString("en")} idle agents`;
  const memory = result.residentMb.reduce((sum, each) => sum + each, 0);
  return [
    {
      what: `${of}: CPU of both replicas`,
      unit: "% of a core",
      measured: cores.controlPlane * 100,
      aim: { atMost: 50 },
    },
    { what: `${of}: memory of both replicas`, unit: "MB", measured: memory, aim: { atMost: 700 } },
    { what: `${of}: requests`, unit: "/s", measured: result.requestsPerSecond },
    { what: `${of}: CPU of PostgreSQL`, unit: "% of a core", measured: cores.database * 100 },
    { what: `${of}: database connections`, unit: "", measured: result.connections },
  ];
}

export function busyRows(agents: number, { closed, paced }: Busy): Row[] {
  const of = `${agents.toLocaleString("en")} agents at work`;
  const { result, cores } = closed;
  const rate = result.jobs / result.seconds;
  const cost = perJob(closed);
  const perSecond = Math.round(paced.result.jobs / paced.result.seconds);
  const claims = paced.result.claimMs;
  return [
    { what: `${of}: jobs`, unit: "/s", measured: rate, aim: { atLeast: 1_000 } },
    {
      what: `${of}: jobs for one core of control plane`,
      unit: "/s",
      measured: 1_000 / cost.controlPlane,
    },
    {
      what: "… that two cores bear which carry nothing but control plane and PostgreSQL",
      unit: "/s",
      measured: 2_000 / (cost.controlPlane + cost.database),
    },
    {
      what: `${of}: cores used by control plane, PostgreSQL and generator`,
      unit: "",
      measured: cores.controlPlane + cores.database + cores.generator,
    },
    { what: `claim at ${perSecond} jobs/s: median`, unit: "ms", measured: quantile(claims, 0.5) },
    {
      what: `claim at ${perSecond} jobs/s: p99`,
      unit: "ms",
      measured: quantile(claims, 0.99),
      aim: { atMost: 50 },
    },
    { what: "claim at full load: median", unit: "ms", measured: quantile(result.claimMs, 0.5) },
    { what: "claim at full load: p99", unit: "ms", measured: quantile(result.claimMs, 0.99) },
  ];
}

/** Milliseconds of CPU for one job. */
export function perJob({ result, seconds, cores }: Stretch<Driven>) {
  const jobs = Math.max(1, result.jobs);
  const ms = (used: number) => used * seconds * 1_000 / jobs;
  return {
    controlPlane: ms(cores.controlPlane),
    database: ms(cores.database),
    generator: ms(cores.generator),
  };
}

export interface Parts {
  readonly closed: Stretch<Driven>;
  readonly crypto: CryptoCosts;
  readonly statements: number;
  readonly statementMs: number;
}

/**
 * Cryptography and statements are measured alone, by the same functions and in this run, and multiplied by how often a job
 * needs them; HTTP, checks of schemas, the log and waste of memory are what is left of the whole.
 */
export function partRows({ closed, crypto, statements, statementMs }: Parts): Row[] {
  const whole = perJob(closed);
  const { jobs, claims } = closed.result;
  const requestsPerJob = (jobs + 2 * claims) / Math.max(1, jobs);
  const signing = crypto.grant + crypto.result + crypto.request * requestsPerJob;
  const asking = statements * statementMs;
  const unit = "ms CPU";
  return [
    { what: "one job: control plane", unit, measured: whole.controlPlane },
    { what: "… of it cryptography", unit, measured: signing },
    { what: `… of it asking ${statements.toFixed(1)} statements`, unit, measured: asking },
    {
      what: "… of it HTTP, schemas, log, memory",
      unit,
      measured: Math.max(0, whole.controlPlane - signing - asking),
    },
    { what: "one job: PostgreSQL", unit, measured: whole.database },
    { what: "one job: the generator, on the same cores", unit, measured: whole.generator },
  ];
}

export function agentRows(agent: RealAgent): Row[] {
  return [
    {
      what: "a real agent: memory, idle",
      unit: "MB",
      measured: agent.idleMb,
      aim: { atMost: 120 },
    },
    {
      what: `a real agent: memory, ${agent.sessions} sessions`,
      unit: "MB",
      measured: agent.busyMb,
      aim: { atMost: 200 },
    },
    { what: "a backup by the agent, from order to stored", unit: "ms", measured: agent.agentMs },
    { what: "the same dialogue by bare ssh2", unit: "ms", measured: agent.bareMs },
    {
      what: "the whole path against bare ssh2",
      unit: "×",
      measured: agent.agentMs / agent.bareMs,
      aim: { atMost: 2 },
    },
  ];
}

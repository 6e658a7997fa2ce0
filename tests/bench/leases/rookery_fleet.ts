/** Sites with devices, agents with a session each, and a queue of jobs: what an installation has before a night begins. */
import { type Kysely, sql } from "kysely";
import type { AgentId, BootId, DeviceId, SiteId } from "@rookery/shared/ids.ts";
import type { Database } from "../../../control-plane/database/schema.ts";
import { CONNECTIONS, type Filling, PAYLOAD } from "./contender.ts";

const DEVICES_PER_SITE = 100;
/** Where jobs are ordered only while the clock runs, one for each device. */
const DEVICES_TO_ORDER_FOR = 16_000;
/** More than any claim of the bench asks for; the cell with groups has its own. */
const LIMIT = 100;
/** How many agents serve a site where its limit is what is measured: they meet there. */
const AGENTS_PER_LIMITED_SITE = 4;

export interface BenchAgent {
  readonly agentId: AgentId;
  readonly bootId: BootId;
  readonly siteIds: readonly SiteId[];
}

export interface BenchFleet {
  readonly limit: number;
  /** An agent whose turn it is; nobody else gets it until it is given back. */
  next(): BenchAgent;
  giveBack(agent: BenchAgent, foundWork: boolean): void;
  /** A device without a job. */
  nextDevice(): { readonly siteId: SiteId; readonly deviceId: DeviceId };
}

/** One agent for each site, or several where a limit is what is measured; a job for each of the first devices. */
export async function populate(db: Kysely<Database>, filling: Filling): Promise<BenchFleet> {
  const { jobs, later = 0, groups } = filling;
  const count = groups?.count ?? Math.max(CONNECTIONS, Math.ceil(jobs / DEVICES_PER_SITE));
  const limit = groups?.limit ?? LIMIT;
  const perSite = Math.ceil((jobs || DEVICES_TO_ORDER_FOR) / count);
  await insertSites(db, { count, perSite, limit });
  const agents = await insertAgents(db, groups ? AGENTS_PER_LIMITED_SITE : 1);
  await insertJobs(db, { jobs, later });
  const tables = [
    "sites",
    "agents",
    "agent_sites",
    "agent_sessions",
    "devices",
    "jobs",
    "open_jobs",
  ];
  for (const table of [...tables, "ready"]) await sql`analyze ${sql.table(table)}`.execute(db);
  const { rows: free } = await sql<{ siteId: SiteId; deviceId: DeviceId }>`
    select site_id, id as device_id from devices d where not exists (
      select 1 from open_jobs o where o.device_id = d.id) order by random() limit 50000`.execute(
    db,
  );
  return fleetOf(agents, { limit, free });
}

/** The agents that found work come first, so that those whose sites are empty cost nothing. */
function fleetOf(
  agents: readonly BenchAgent[],
  { limit, free }: {
    readonly limit: number;
    readonly free: { readonly siteId: SiteId; readonly deviceId: DeviceId }[];
  },
): BenchFleet {
  const waiting = [...agents];
  const idle: BenchAgent[] = [];
  return {
    limit,
    next() {
      const agent = waiting.shift() ?? idle.shift();
      if (!agent) throw new Error("Every agent is at work");
      return agent;
    },
    giveBack: (agent, foundWork) => void (foundWork ? waiting : idle).push(agent),
    nextDevice() {
      const device = free.pop();
      if (!device) throw new Error("Every device has a job");
      return device;
    },
  };
}

export async function insertSites(
  db: Kysely<Database>,
  { count, perSite, limit }: {
    readonly count: number;
    readonly perSite: number;
    readonly limit: number;
  },
): Promise<void> {
  await sql`
    insert into sites (id, tenant_id, name, max_live, max_queued)
    select uuidv7(), t.id, 'site ' || n, ${limit}::int, 1000000
    from (select id from tenants limit 1) t, generate_series(1, ${count}::int) n`.execute(db);
  await sql`
    insert into devices (id, site_id, name, host, platform)
    select uuidv7(), s.id, 'device ' || n, 'device-' || n || '.test', 'frr'
    from sites s, generate_series(1, ${perSite}::int) n`.execute(db);
}

export async function insertAgents(db: Kysely<Database>, perSite: number): Promise<BenchAgent[]> {
  await sql`
    insert into agents (id, tenant_id, name, sign_jwk, seal_jwk, thumbprint)
    select uuidv7(), tenant_id, name || ' agent ' || n, '{}', '{}', name || n
    from sites, generate_series(1, ${perSite}::int) n`.execute(db);
  await sql`
    insert into agent_sites (agent_id, site_id)
    select a.id, s.id from agents a join sites s on a.name like s.name || ' agent %'`.execute(db);
  await sql`
    insert into agent_sessions (agent_id, boot_id, capacity, ttl_seconds, expires_at)
    select id, uuidv7(), 1000, 180, now() + interval '1 day' from agents`.execute(db);
  const { rows } = await sql<BenchAgent>`
    select a.agent_id, a.boot_id, array_agg(s.site_id) as site_ids
    from agent_sessions a join agent_sites s on s.agent_id = a.agent_id
    group by a.agent_id order by min(s.site_id::text), a.agent_id`.execute(db);
  return rows;
}

/** One for each device; those that come later are due tomorrow. */
async function insertJobs(
  db: Kysely<Database>,
  { jobs, later }: { readonly jobs: number; readonly later: number },
): Promise<void> {
  await sql`
    with chosen as (
      select site_id, id as device_id, uuidv7() as job_id,
        case when row_number() over (order by id) <= ${later}::int then now() + interval '1 day'
          else now() - interval '1 minute' end as due_at
      from devices order by id limit ${jobs}::int
    ), opened as (
      insert into open_jobs (site_id, device_id, kind, payload_key, job_id)
      select site_id, device_id, 'run_commands', '', job_id from chosen
    ), stated as (
      insert into jobs (site_id, id, device_id, kind, payload, due_at)
      select site_id, job_id, device_id, 'run_commands', ${JSON.stringify(PAYLOAD)}::text::jsonb,
        due_at from chosen
    )
    insert into ready (site_id, rank, job_id, device_id, kind, due_at, offset_seconds)
    select site_id, due_at, job_id, device_id, 'run_commands', due_at, 0 from chosen`.execute(db);
}

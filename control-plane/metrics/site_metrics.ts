/** What the database knows of sites, as gauges that are read anew for each scrape; never one by device. */
import { type Kysely, sql } from "kysely";
import { Gauge, Registry } from "prom-client";
import type { Database } from "../database/schema.ts";
import { isVisible, type Scope } from "../permissions/scope.ts";

interface Measured {
  readonly tenant: string;
  readonly site: string;
  readonly value: number;
  readonly [label: string]: string | number;
}

interface SiteGauge {
  readonly name: string;
  readonly help: string;
  readonly labels: readonly string[];
  readonly read: (db: Kysely<Database>, scope: Scope) => Promise<readonly Measured[]>;
}

/** Two tenants may have a site of the same name. */
const TENANT = sql`(select name from tenants where id = sites.tenant_id) as tenant`;

const GAUGES: readonly SiteGauge[] = [
  {
    name: "rookery_devices",
    help: "Devices in use, by how their last backup ended (never, verified, quarantined, failed)",
    labels: ["tenant", "site", "status"],
    read: countDevices,
  },
  {
    name: "rookery_verified_backup_age_seconds",
    help: "The age of the oldest last verified backup of a device in use that has one",
    labels: ["tenant", "site"],
    read: measureAge,
  },
  {
    name: "rookery_jobs_open",
    help: "Jobs that wait for their time (scheduled) or an agent (available), or run (leased)",
    labels: ["tenant", "site", "state"],
    read: countOpenJobs,
  },
  {
    name: "rookery_jobs_ended_last_hour",
    help: "Jobs that ended within the last hour, by how",
    labels: ["tenant", "site", "outcome"],
    read: countEndedJobs,
  },
  {
    name: "rookery_agents",
    help: "Agents of a site, by whether they are heard of; an agent of two sites counts at both",
    labels: ["tenant", "site", "state"],
    read: countAgents,
  },
];

/** All gauges of the sites that a scope reaches. */
export async function readSiteMetrics(db: Kysely<Database>, scope: Scope): Promise<string> {
  const registry = new Registry();
  for (const { name, help, labels, read } of GAUGES) {
    const gauge = new Gauge({ name, help, labelNames: [...labels], registers: [registry] });
    for (const { value, ...labels } of await read(db, scope)) gauge.set(labels, value);
  }
  return await registry.metrics();
}

async function countDevices(db: Kysely<Database>, scope: Scope) {
  const { rows } = await sql<Measured>`
    select ${TENANT}, sites.name as site, coalesce(t.last_outcome, 'never') as status, count(*)::int as value
    from devices join sites on sites.id = devices.site_id
      left join device_status t on t.device_id = devices.id
    where devices.archived_at is null and ${isVisible("sites.id", scope)}
    group by sites.id, 3`.execute(db);
  return rows;
}

async function measureAge(db: Kysely<Database>, scope: Scope) {
  const { rows } = await sql<Measured>`
    select ${TENANT}, sites.name as site,
      extract(epoch from clock_timestamp() - min(t.last_verified_at))::float8 as value
    from devices join sites on sites.id = devices.site_id
      join device_status t on t.device_id = devices.id
    where devices.archived_at is null and t.last_verified_at is not null
      and ${isVisible("sites.id", scope)}
    group by sites.id`.execute(db);
  return rows;
}

async function countOpenJobs(db: Kysely<Database>, scope: Scope) {
  const { rows } = await sql<Measured>`
    with open as (
      select site_id, case when due_at > now() then 'scheduled' else 'available' end as state from ready
      union all select site_id, 'leased' from leases
    )
    select ${TENANT}, sites.name as site, state, count(*)::int as value
    from open join sites on sites.id = open.site_id
    where ${isVisible("sites.id", scope)} group by sites.id, state`.execute(db);
  return rows;
}

async function countEndedJobs(db: Kysely<Database>, scope: Scope) {
  const { rows } = await sql<Measured>`
    select ${TENANT}, sites.name as site, outcome, count(*)::int as value
    from done join sites on sites.id = done.site_id
    where ended_at > now() - interval '1 hour' and ${isVisible("sites.id", scope)}
    group by sites.id, outcome`.execute(db);
  return rows;
}

async function countAgents(db: Kysely<Database>, scope: Scope) {
  const { rows } = await sql<Measured>`
    select ${TENANT}, sites.name as site,
      case when a.status <> 'active' then a.status
        when e.expires_at > now() then 'online' else 'offline' end as state,
      count(*)::int as value
    from agent_sites s join sites on sites.id = s.site_id join agents a on a.id = s.agent_id
      left join agent_sessions e on e.agent_id = a.id
    where a.status <> 'revoked' and ${isVisible("sites.id", scope)}
    group by sites.id, 3`.execute(db);
  return rows;
}

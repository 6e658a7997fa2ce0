import { type Kysely, sql } from "kysely";
import { z } from "zod";
import { type AgentId, CredentialId, LeaseId, type SiteId } from "@rookery/shared/ids.ts";
import { HostKeySeen } from "@rookery/shared/jobs/backup_config.ts";
import { CaptureBaseline, HostKeyPolicy } from "@rookery/shared/jobs/lease.ts";
import type { Database } from "../database/schema.ts";

/** All that a lease says about its job and device, read in one statement. */
export const LeaseDetails = z.object({
  leaseId: LeaseId,
  payload: z.json(),
  host: z.string(),
  port: z.int(),
  platform: z.string(),
  legacyAlgorithms: z.boolean(),
  connectSeconds: z.int(),
  idleSeconds: z.int(),
  totalSeconds: z.int(),
  maxBytes: z.int(),
  hostKeyPolicy: HostKeyPolicy,
  shrinkPercent: z.int(),
  leaseTtlSeconds: z.int(),
  logsIn: z.boolean(),
  hostKeys: z.array(HostKeySeen),
  baselines: z.record(z.string(), CaptureBaseline),
  credential: z.object({
    id: CredentialId,
    version: z.int(),
    kind: z.enum(["stored", "agent_local"]),
    username: z.string(),
    localName: z.string().nullable(),
    kekId: z.string(),
    wrappedKey: z.instanceof(Uint8Array),
    nonce: z.instanceof(Uint8Array),
    ciphertext: z.instanceof(Uint8Array),
  }).nullable(),
});
export type LeaseDetails = z.infer<typeof LeaseDetails>;

/** Reads the details of leases that an agent holds at one site, by lease id. */
export async function readLeaseDetails(
  db: Kysely<Database>,
  held: { agentId: AgentId; leaseIds: readonly LeaseId[] },
): Promise<ReadonlyMap<string, LeaseDetails>> {
  const { rows } = await sql<Record<string, unknown>>`
    select l.id as lease_id, j.payload, d.host, d.port, d.platform, d.legacy_algorithms,
      d.connect_seconds, d.idle_seconds, coalesce(j.total_seconds, d.total_seconds) as total_seconds,
      d.max_bytes, l.logs_in,
      -- First use is over once a key was seen: a device whose only key was rejected is not trusted anew.
      case when exists (select 1 from host_keys k where k.device_id = d.id) then 'strict'
        else s.host_key_policy end as host_key_policy,
      s.shrink_percent,
      -- What the session lives by: the most patient of the agent's sites, or the size of the fleet.
      coalesce((select ttl_seconds from agent_sessions x where x.agent_id = l.agent_id),
        s.lease_ttl_seconds) as lease_ttl_seconds,
      coalesce((select jsonb_agg(jsonb_build_object('type', k.key_type, 'fingerprint', k.fingerprint))
        from host_keys k where k.device_id = d.id and k.state = 'accepted'), '[]') as host_keys,
      coalesce((select jsonb_object_agg(r.capture, jsonb_build_object(
          'normalisedSha256', r.normalised_sha256, 'bytes', r.bytes, 'lines', r.lines))
        from current_texts t join revisions r on r.id = t.revision_id
        where t.device_id = d.id), '{}') as baselines,
      c.id as credential_id, c.kind, c.local_name, v.version, c.username, v.kek_id, v.wrapped_key, v.nonce, v.ciphertext
    from leases l
    join jobs j on j.site_id = l.site_id and j.id = l.job_id
    join devices d on d.id = l.device_id
    join sites s on s.id = l.site_id
    left join credentials c on c.id = l.credential_id
    left join credential_versions v on v.credential_id = c.id and v.version = l.credential_version
    where l.agent_id = ${held.agentId} and l.id = any(${[...held.leaseIds]}::uuid[])`.execute(db);
  return new Map(rows.map((row) => {
    const details = LeaseDetails.parse({
      ...row,
      credential: row.kekId ? credentialOf(row) : null,
    });
    return [details.leaseId, details];
  }));
}

function credentialOf(row: Record<string, unknown>) {
  const { credentialId: id, kind, version, username, localName } = row;
  const { kekId, wrappedKey, nonce, ciphertext } = row;
  return { id, kind, version, username, localName, kekId, wrappedKey, nonce, ciphertext };
}

/**
 * The site of a lease, the kind of its job and who may speak under it: its holder, or the last one after it was lost. Undefined too when the
 * device is gone, with all that is known of it, or at another site by now: what an agent kept of it has nowhere to go.
 */
export async function findGrant(
  db: Kysely<Database>,
  held: { agentId: AgentId; leaseId: LeaseId },
) {
  return await db.selectFrom("grants")
    .innerJoin("devices", (join) =>
      join.onRef("devices.id", "=", "grants.deviceId")
        .onRef("devices.siteId", "=", "grants.siteId"))
    .innerJoin(
      "jobs",
      (join) =>
        join.onRef("jobs.siteId", "=", "grants.siteId").onRef("jobs.id", "=", "grants.jobId"),
    )
    .selectAll("grants").select("jobs.kind")
    .where("grants.leaseId", "=", held.leaseId).where("grants.agentId", "=", held.agentId)
    .executeTakeFirst();
}

const DEFAULT_TTL_SECONDS = 180;

/** How long an agent's session lives between heartbeats: the most patient of its sites decides. */
export async function sessionTtlSeconds(
  db: Kysely<Database>,
  siteIds: readonly SiteId[],
): Promise<number> {
  if (siteIds.length === 0) return DEFAULT_TTL_SECONDS;
  const row = await db.selectFrom("sites").where("id", "in", [...siteIds])
    .select(({ fn }) => fn.max("leaseTtlSeconds").as("ttlSeconds")).executeTakeFirst();
  return row?.ttlSeconds ?? DEFAULT_TTL_SECONDS;
}

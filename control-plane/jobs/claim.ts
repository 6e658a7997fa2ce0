import { type Kysely, sql, type Transaction } from "kysely";
import type {
  AgentId,
  BootId,
  ClaimId,
  DeviceId,
  JobId,
  LeaseId,
  SiteId,
} from "@rookery/shared/ids.ts";
import type { JobKind } from "@rookery/shared/jobs/mod.ts";
import { inTransaction } from "../database/transaction.ts";
import type { Database } from "../database/schema.ts";
import { announceJobs } from "../outbox/announce.ts";
import type { Candidate } from "./claim_candidates.ts";
import { chooseJobs } from "./claim_credentials.ts";
import type { ClaimFloors, FloorKey } from "./claim_floor.ts";
import { fairShares, type SiteWithWork } from "./fair_shares.ts";
import { MAX_OFFSET_SECONDS } from "./rank.ts";
import { lockSiteLimits, spendStarts } from "./site_limits.ts";

/** How long an agent has to start what it was offered. */
export const OFFER_SECONDS = 30;
/** Uploading and reporting may take this much longer than the session itself. */
const DEADLINE_MARGIN_SECONDS = 120;

export interface ClaimOrder {
  readonly agentId: AgentId;
  readonly bootId: BootId;
  readonly claimId: ClaimId;
  readonly siteIds: readonly SiteId[];
  /** How many more leases the agent asks for. */
  readonly wanted: number;
  /** The platforms whose driver the agent has in our version. */
  readonly platforms: readonly string[];
  /** The kinds of job that it can run. */
  readonly kinds: readonly string[];
}

export interface GrantedLease {
  readonly siteId: SiteId;
  readonly deviceId: DeviceId;
  readonly jobId: JobId;
  readonly leaseId: LeaseId;
  readonly kind: JobKind;
  readonly epoch: number;
  readonly deadlineSeconds: number;
}

/** The agent has no live session with this boot id: it must open one before it claims. */
export class SessionLostError extends Error {
  override name = "SessionLostError";
}

/**
 * Grants waiting jobs to an agent, site by site, each site in a transaction of its own. Idempotent by
 * `claimId`: a retry gets the same leases again. Throws SessionLostError when the session is not live.
 */
export async function claimJobs(
  db: Kysely<Database>,
  order: ClaimOrder,
  floors: ClaimFloors,
): Promise<GrantedLease[]> {
  const { claimed: isRetry, due } = await lookAround(db, order);
  if (isRetry) return await findClaimed(db, order);
  let sites = order.siteIds.flatMap((id) => due.filter(({ siteId }) => siteId === id));
  const granted: GrantedLease[] = [];
  // What one site has no use for is shared out among those that used up theirs.
  while (sites.length > 0 && granted.length < order.wanted) {
    const shares = fairShares(sites, order.wanted - granted.length);
    const hungry = new Set<SiteId>();
    for (const { siteId, wanted } of shares) {
      const site = { siteId, floors, known: granted };
      const claimed = await inTransaction(db, (tx) => claimAtSite(tx, { ...order, wanted }, site));
      // Only now: a floor of grants that were rolled back would hide them.
      claimed.noteFloor?.();
      granted.push(...claimed.leases);
      if (claimed.leases.length === wanted) hungry.add(siteId);
    }
    const unasked = sites.filter(({ siteId }) => !shares.some((share) => share.siteId === siteId));
    sites = [...unasked, ...sites.filter(({ siteId }) => hungry.has(siteId))];
  }
  return granted;
}

/**
 * What a claim needs to know before it locks anything, in one statement: most claims find nothing to do, and a lock, being
 * a write, costs each of them more than all else. What changes meanwhile is seen under the locks.
 */
async function lookAround(db: Kysely<Database>, { agentId, bootId, ...order }: ClaimOrder) {
  // As JSON, whose length the planner does not look at: it would plan each claim anew for an array. The limits
  // have it look up each site by its key, and one job of each, however many it thinks they are.
  const siteIds = JSON.stringify(order.siteIds);
  const { rows: [seen] } = await sql<{ live: boolean; claimed: boolean; due: SiteWithWork[] }>`
    select exists (select 1 from agent_sessions where agent_id = ${agentId}
        and boot_id = ${bootId} and expires_at > clock_timestamp()) as live,
      exists (select 1 from leases
        where agent_id = ${agentId} and claim_id = ${order.claimId}) as claimed,
      coalesce((select jsonb_agg(jsonb_build_object('siteId', s.id, 'tenantId', s.tenant_id,
          'live', (select count(*) from leases b
            where b.agent_id = ${agentId} and b.site_id = s.id)))
        from jsonb_array_elements_text(${siteIds}::text::jsonb) given(id),
          lateral (select * from sites where id = given.id::uuid and not paused limit 1) s,
          lateral (select 1 from ready r where r.site_id = s.id and r.due_at <= now()
            and r.rank <= now() + make_interval(secs => ${MAX_OFFSET_SECONDS}) limit 1) work
        where not exists (select 1 from installation where maintenance)), '[]') as due`
    .execute(db);
  if (!seen?.live) throw new SessionLostError("The agent has no live session with this boot id");
  return seen;
}

/** Locks the agent's session: serialises its claims, and loses to a revocation that deletes the row. */
async function lockSession(tx: Transaction<Database>, order: ClaimOrder): Promise<number> {
  const { rows } = await sql<{ capacity: number }>`
    select capacity from agent_sessions
    where agent_id = ${order.agentId} and boot_id = ${order.bootId}
      and expires_at > clock_timestamp()
    for no key update`.execute(tx);
  if (!rows[0]) throw new SessionLostError("The agent has no live session with this boot id");
  return rows[0].capacity;
}

async function findClaimed(
  db: Kysely<Database>,
  { agentId, claimId }: ClaimOrder,
): Promise<GrantedLease[]> {
  const { rows } = await sql<{ lease: GrantedLease }>`
    select ${GRANTED} as lease from leases l
    where agent_id = ${agentId} and claim_id = ${claimId} order by rank, job_id`.execute(db);
  return rows.map(({ lease }) => lease);
}

interface ClaimedAtSite {
  readonly leases: readonly GrantedLease[];
  readonly noteFloor?: () => void;
}

async function claimAtSite(
  tx: Transaction<Database>,
  order: ClaimOrder,
  { siteId, floors, known }: {
    readonly siteId: SiteId;
    readonly floors: ClaimFloors;
    /** What this very claim was granted already, there or elsewhere. */
    readonly known: readonly GrantedLease[];
  },
): Promise<ClaimedAtSite> {
  // One after the other: each of them sees what was committed while the one before waited. Started together they gain nothing,
  // and when the first one fails the others would run on its connection after the transaction, which may be in another one.
  const capacity = await lockSession(tx, order);
  const site = await lockSiteLimits(tx, siteId);
  const { earlier, atSite, atAgent } = await countLive(tx, order, siteId);
  // The same claim may have come twice at once; the other one held the session until now.
  const again = earlier.filter(({ leaseId }) => !known.some((own) => own.leaseId === leaseId));
  if (again.length > 0) return { leases: again };
  if (!site) return { leases: [] };
  const free = Math.min(
    ...[order.wanted, site.maxLive - atSite, capacity - atAgent, site.starts ?? Infinity],
  );
  if (free <= 0) return { leases: [] };
  const owner = { siteId, platforms: order.platforms, kinds: order.kinds };
  const floor = site.hasWindows ? undefined : floors.get(owner, site.queueVersion);
  const { leases, last } = await fill(tx, order, { siteId, free, floor });
  await spendStarts(tx, site, leases.length);
  if (site.hasWindows) return { leases };
  return { leases, noteFloor: () => floors.note(owner, site.queueVersion, last) };
}

/** Without `last` there is no floor to note: all that there was went, or a job waits for its credential before it. */
async function fill(
  tx: Transaction<Database>,
  order: ClaimOrder,
  site: { siteId: SiteId; free: number; floor: FloorKey | undefined },
): Promise<{ leases: GrantedLease[]; last: FloorKey | undefined }> {
  const view = { ...site, platforms: order.platforms, kinds: order.kinds };
  const { chosen, passedOver } = await chooseJobs(tx, view, site.free);
  const leases = chosen.length === 0 ? [] : await grant(tx, order, { ...site, chosen });
  const end = chosen.at(-1);
  const isFilled = leases.length === site.free && !passedOver;
  return { leases, last: isFilled && end ? { rank: end.floorRank, jobId: end.jobId } : undefined };
}

interface Live {
  readonly earlier: readonly GrantedLease[];
  readonly atSite: number;
  readonly atAgent: number;
}

/** In a statement of its own, after the locks: only then does its snapshot see every other grant, of this claim too. */
async function countLive(
  tx: Transaction<Database>,
  { agentId, claimId }: ClaimOrder,
  siteId: SiteId,
): Promise<Live> {
  const { rows: [live] } = await sql<Live>`
    select (select count(*)::int from leases where site_id = ${siteId}) as at_site,
      count(*)::int as at_agent,
      coalesce(jsonb_agg(${GRANTED} order by rank, job_id)
        filter (where claim_id = ${claimId} and site_id = ${siteId}), '[]') as earlier
    from leases l where agent_id = ${agentId}`.execute(tx);
  return live ?? { earlier: [], atSite: 0, atAgent: 0 };
}

/** A lease `l` as its claim is told of it, whose keys no plug-in turns. */
const GRANTED = sql`jsonb_build_object('siteId', site_id, 'deviceId', device_id, 'jobId', job_id,
  'leaseId', id, 'kind', kind, 'epoch', epoch, 'deadlineSeconds',
  greatest(1, extract(epoch from deadline_at - clock_timestamp()))::int)`;

const nowGranted = sql`
  select site_id, job_id, device_id,
    jsonb_build_object('state', 'leased', 'agentId', agent_id, 'epoch', epoch) as detail
  from granted`;

/**
 * Moves chosen jobs from ready to leases; one that was cancelled meanwhile stays where it is, and so does one whose late
 * result came meanwhile and that waits for its next attempt.
 */
async function grant(
  tx: Transaction<Database>,
  order: ClaimOrder,
  site: { siteId: SiteId; chosen: readonly Candidate[] },
): Promise<GrantedLease[]> {
  const wanted = site.chosen.map(({ jobId, credentialId, version }) => (
    { job_id: jobId, used_credential: credentialId, used_version: version }
  ));
  const { rows } = await sql<GrantedLease>`
    with chosen as (
      select * from jsonb_to_recordset(${JSON.stringify(wanted)}::text::jsonb)
        as c(job_id uuid, used_credential uuid, used_version integer)
    ), taken as (
      delete from ready r using chosen c
      where r.site_id = ${site.siteId} and r.job_id = c.job_id and r.due_at <= now()
      returning r.*, c.used_credential, c.used_version
    ), granted as (
      insert into leases (site_id, device_id, job_id, id, kind, epoch, agent_id, boot_id, claim_id,
        offer_until, deadline_at, rank, due_at, offset_seconds, fails, session_losses, last_failure,
        credential_id, credential_version, logs_in, expires_at)
      select t.site_id, t.device_id, job_id, gen_random_uuid(), t.kind, epoch + 1, ${order.agentId},
        ${order.bootId}, ${order.claimId},
        clock_timestamp() + make_interval(secs => ${OFFER_SECONDS}),
        clock_timestamp() + make_interval(
          secs => coalesce(j.total_seconds, d.total_seconds) + ${DEADLINE_MARGIN_SECONDS}::int),
        rank, t.due_at, offset_seconds, fails, session_losses, last_failure, used_credential,
        used_version, logs_in, t.expires_at
      from taken t join devices d on d.id = t.device_id
        join jobs j on j.site_id = t.site_id and j.id = t.job_id returning *
    ), recorded as (
      insert into grants (lease_id, site_id, job_id, device_id, agent_id, boot_id, epoch,
        credential_id, credential_version)
      select id, site_id, job_id, device_id, agent_id, boot_id, epoch, credential_id,
        credential_version from granted
    ), told as (${announceJobs("granted", nowGranted)})
    select site_id, device_id, job_id, id as lease_id, kind, epoch,
      extract(epoch from deadline_at - clock_timestamp())::int as deadline_seconds
    from granted order by rank, job_id`.execute(tx);
  return rows;
}

import { type Kysely, type Selectable, sql, type Transaction } from "kysely";
import type { SealJwk, SignJwk } from "@rookery/shared/api/agent_protocol.ts";
import type { AgentId, BootId, JoinTokenId, SiteId, TenantId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import type { AgentsTable, Database, JoinTokensTable } from "../database/schema.ts";
import { insertKey } from "./key_store.ts";
import { isVisible, type Scope, whereVisible } from "../permissions/scope.ts";

export type AgentRow = Selectable<AgentsTable>;
export type JoinTokenRow = Selectable<JoinTokensTable>;

export function findAgent(
  db: Kysely<Database>,
  agentId: AgentId,
): Promise<AgentRow | undefined> {
  return db.selectFrom("agents").selectAll().where("id", "=", agentId).executeTakeFirst();
}

/** How many agents there are to hear from. */
export async function countSessions(db: Kysely<Database>): Promise<number> {
  const { rows } = await sql<{ sessions: number }>`
    select count(*)::int as sessions from agent_sessions`.execute(db);
  return rows[0]?.sessions ?? 0;
}

/** Holds an agent active until the transaction ends: a revocation or a lock waits. Throws when it is not active. */
export async function holdActiveAgent(tx: Transaction<Database>, agentId: AgentId): Promise<void> {
  const agent = await tx.selectFrom("agents").select("status").where("id", "=", agentId)
    .forShare().executeTakeFirst();
  if (agent?.status === "active") return;
  if (agent?.status === "locked") throw new ProblemError("agent-locked", "This agent is locked.");
  throw new ProblemError("agent-revoked", "This agent was revoked.");
}

/** Locks an agent in whatever state it is, so that its state can be changed. */
export async function lockAgentRow(
  tx: Transaction<Database>,
  agentId: AgentId,
): Promise<AgentRow | undefined> {
  return await tx.selectFrom("agents").selectAll().where("id", "=", agentId).forNoKeyUpdate()
    .executeTakeFirst();
}

export async function siteIdsOf(db: Kysely<Database>, agentId: AgentId): Promise<SiteId[]> {
  const rows = await db.selectFrom("agentSites").select("siteId").where("agentId", "=", agentId)
    .orderBy("siteId").execute();
  return rows.map((row) => row.siteId);
}

/** Those of the sites that exist and that the caller may see. */
export function selectVisibleSites(
  db: Kysely<Database>,
  scope: Scope,
  siteIds: readonly SiteId[],
): Promise<{ id: SiteId; tenantId: TenantId }[]> {
  const query = db.selectFrom("sites").select(["id", "tenantId"]).where("id", "in", [...siteIds]);
  return whereVisible(query, "sites.id", scope).execute();
}

/** An agent as people see it. */
export interface AgentView extends AgentRow {
  readonly siteIds: SiteId[];
  readonly online: boolean;
  readonly lastSeenAt: Temporal.Instant | null;
  readonly devicesRefusedByPolicy: number;
}

export interface AgentSelection {
  readonly scope: Scope;
  readonly after?: AgentId | undefined;
  readonly agentId?: AgentId;
  readonly limit: number;
}

/** Of an agent at least one site must be visible; one that has no site is seen by whoever sees all. */
function isAgentVisible(scope: Scope) {
  return scope.all ? sql`true` : sql`exists (
    select 1 from agent_sites s where s.agent_id = a.id and ${isVisible("s.site_id", scope)})`;
}

/** Agents in the order of their ids. */
export async function selectAgents(
  db: Kysely<Database>,
  selection: AgentSelection,
): Promise<AgentView[]> {
  const { rows } = await sql<AgentView>`
    select a.*, array(
        select s.site_id from agent_sites s where s.agent_id = a.id
          and ${isVisible("s.site_id", selection.scope)} order by s.site_id) as site_ids,
      coalesce(e.expires_at > now(), false) as online, e.seen_at as last_seen_at,
      (select count(*)::int from agent_sites s join device_status d on d.site_id = s.site_id
        where s.agent_id = a.id and ${isVisible("s.site_id", selection.scope)}
          and d.failure_code = 'refused_by_agent_policy') as devices_refused_by_policy
    from agents a left join agent_sessions e on e.agent_id = a.id
    where ${isAgentVisible(selection.scope)}
      and (${selection.after ?? null}::uuid is null or a.id > ${selection.after ?? null}::uuid)
      and (${selection.agentId ?? null}::uuid is null or a.id = ${selection.agentId ?? null}::uuid)
    order by a.id limit ${selection.limit}`.execute(db);
  return rows;
}

export interface NewAgent {
  readonly id: AgentId;
  readonly tenantId: TenantId;
  readonly name: string;
  readonly status: "pending" | "active";
  readonly signJwk: SignJwk;
  readonly sealJwk: SealJwk;
  readonly thumbprint: string;
  readonly version: string;
  readonly drivers: Readonly<Record<string, string>>;
  readonly siteIds: readonly SiteId[];
}

export async function insertAgent(tx: Transaction<Database>, agent: NewAgent): Promise<void> {
  const { siteIds, ...row } = agent;
  await tx.insertInto("agents").values(row).execute();
  const { id: agentId, thumbprint, signJwk, sealJwk } = agent;
  await insertKey(tx, { agentId, thumbprint, signJwk, sealJwk, state: "current" });
  await tx.insertInto("agentSites")
    .values(siteIds.map((siteId) => ({ agentId: agent.id, siteId }))).execute();
}

export interface OpenSession {
  readonly agentId: AgentId;
  readonly bootId: BootId;
  readonly capacity: number;
  readonly ttlSeconds: number;
}

/** Opens the session of a boot, or the same boot's again; the row is what every lease of it lives by. */
export async function upsertSession(tx: Transaction<Database>, session: OpenSession) {
  await sql`
    insert into agent_sessions (agent_id, boot_id, capacity, ttl_seconds, expires_at)
    values (${session.agentId}, ${session.bootId}, ${session.capacity}, ${session.ttlSeconds},
      clock_timestamp() + make_interval(secs => ${session.ttlSeconds}))
    on conflict (agent_id) do update set boot_id = excluded.boot_id, capacity = excluded.capacity,
      ttl_seconds = excluded.ttl_seconds, expires_at = excluded.expires_at,
      seen_at = clock_timestamp(),
      opened_at = case when agent_sessions.boot_id = excluded.boot_id
        then agent_sessions.opened_at else clock_timestamp() end`.execute(tx);
}

export async function noteBoot(
  tx: Transaction<Database>,
  boot: {
    readonly agentId: AgentId;
    readonly sequence: number;
    readonly version: string;
    readonly drivers: Record<string, string>;
    readonly kinds: readonly string[];
  },
): Promise<void> {
  await tx.updateTable("agents").set({
    sessionSequence: boot.sequence,
    version: boot.version,
    drivers: boot.drivers,
    kinds: [...boot.kinds],
    tooOldSince: null,
  }).where("id", "=", boot.agentId).execute();
}

/** Marks an agent that is refused for its version, until a session of it is opened. */
export async function noteTooOld(
  tx: Transaction<Database>,
  { agentId, version }: { agentId: AgentId; version: string },
): Promise<void> {
  await tx.updateTable("agents").set({
    version,
    tooOldSince: sql<Temporal.Instant>`coalesce(too_old_since, now())`,
  }).where("id", "=", agentId).execute();
}

/** Stops granting to a boot: its session keeps its running leases and gets no more. */
export async function setCapacity(
  tx: Transaction<Database>,
  boot: { agentId: AgentId; bootId: BootId; capacity: number },
): Promise<void> {
  await tx.updateTable("agentSessions").set({ capacity: boot.capacity })
    .where("agentId", "=", boot.agentId).where("bootId", "=", boot.bootId).execute();
}

export async function markRevoked(tx: Transaction<Database>, agentId: AgentId): Promise<boolean> {
  const { numUpdatedRows } = await tx.updateTable("agents")
    .set({ status: "revoked", revokedAt: sql<Temporal.Instant>`now()` })
    .where("id", "=", agentId).where("status", "<>", "revoked").executeTakeFirst();
  await tx.deleteFrom("agentSessions").where("agentId", "=", agentId).execute();
  return numUpdatedRows > 0n;
}

export async function insertJoinToken(
  tx: Transaction<Database>,
  token: {
    id: JoinTokenId;
    tenantId: TenantId;
    secretSha256: string;
    agentName: string;
    siteIds: readonly SiteId[];
    createdBy: string | null;
    expiresInSeconds: number;
    requireApproval: boolean;
    replacesAgentId: AgentId | null;
  },
): Promise<JoinTokenRow> {
  const { expiresInSeconds, siteIds, ...row } = token;
  return await tx.insertInto("joinTokens").values({
    ...row,
    siteIds: [...siteIds],
    expiresAt: sql<Temporal.Instant>`now() + make_interval(secs => ${expiresInSeconds})`,
  }).returningAll().executeTakeFirstOrThrow();
}

/** What has or will have this name at a tenant: an agent that is not revoked, or a token that still works. */
export async function findNameHolder(
  db: Kysely<Database>,
  { tenantId, name }: { tenantId: TenantId; name: string },
): Promise<"agent" | "join_token" | undefined> {
  const { rows } = await sql<{ holder: "agent" | "join_token" }>`
    select 'agent' as holder from agents
    where tenant_id = ${tenantId} and lower(name) = lower(${name}) and status <> 'revoked'
    union all
    select 'join_token' from join_tokens
    where tenant_id = ${tenantId} and lower(agent_name) = lower(${name}) and used_at is null
      and expires_at > now()
    limit 1`.execute(db);
  return rows[0]?.holder;
}

/** Locks a join token by the digest of its secret; the lock orders two that use it at once. */
export async function lockJoinToken(
  tx: Transaction<Database>,
  secretSha256: string,
): Promise<(JoinTokenRow & { readonly expired: boolean }) | undefined> {
  return await tx.selectFrom("joinTokens").selectAll()
    .select(sql<boolean>`expires_at <= clock_timestamp()`.as("expired"))
    .where("secretSha256", "=", secretSha256).forUpdate().executeTakeFirst();
}

export async function markJoinTokenUsed(
  tx: Transaction<Database>,
  use: { id: JoinTokenId; agentId: AgentId; thumbprint: string },
): Promise<void> {
  await tx.updateTable("joinTokens").set({
    usedAt: sql<Temporal.Instant>`now()`,
    agentId: use.agentId,
    usedByThumbprint: use.thumbprint,
  }).where("id", "=", use.id).execute();
}

/** Join tokens, newest first; visible are those whose every site is. */
export async function selectJoinTokens(
  db: Kysely<Database>,
  selection: { scope: Scope; before?: JoinTokenId | undefined; limit: number },
): Promise<JoinTokenRow[]> {
  const { rows } = await sql<JoinTokenRow>`
    select t.* from join_tokens t
    where not exists (
        select 1 from unnest(t.site_ids) as s(id) where not ${isVisible("s.id", selection.scope)})
      and (${selection.before ?? null}::uuid is null or t.id < ${selection.before ?? null}::uuid)
    order by t.id desc limit ${selection.limit}`.execute(db);
  return rows;
}

/** Withdraws a token that nobody used; false when there is none. */
export async function deleteUnusedJoinToken(
  tx: Transaction<Database>,
  selection: { scope: Scope; id: JoinTokenId },
): Promise<boolean> {
  const { rows } = await sql`
    delete from join_tokens t where t.id = ${selection.id} and t.used_at is null and not exists (
      select 1 from unnest(t.site_ids) as s(id) where not ${isVisible("s.id", selection.scope)})
    returning 1`.execute(tx);
  return rows.length > 0;
}

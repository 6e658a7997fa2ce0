import { type Kysely, sql, type Transaction } from "kysely";
import type { JWK } from "jose";
import type { SealJwk, SignJwk } from "@rookery/shared/api/agent_protocol.ts";
import type { AgentId, BootId } from "@rookery/shared/ids.ts";
import type { AgentKeysTable, Database } from "../database/schema.ts";
import { inForce } from "../settings/in_force.ts";
import type { AgentRow } from "./store.ts";

/** How long the old key is accepted beside a new one that nobody uses. */
export const OLD_KEY_SECONDS = 86_400;
/** Results that an agent signed before its last few rotations may still be on their way. */
const RESULT_KEYS = 5;

export type KeyState = AgentKeysTable["state"];

/** The agent that a key belongs to, and what the key is worth. */
export interface KeyHolder {
  readonly agent: AgentRow;
  readonly keyState: KeyState;
  /** How long ago a retired key was replaced; null for others. */
  readonly retiredSeconds: number | null;
  /** Another boot took the place of the one asked for, or a person refused it. */
  readonly bootReplaced: boolean;
}

/** Finds whose key this is. An old key beside a new one that was not used in time counts as retired. */
export async function findKeyHolder(
  db: Kysely<Database>,
  { thumbprint, bootId }: { thumbprint: string; bootId?: BootId | undefined },
): Promise<KeyHolder | undefined> {
  const { rows: [row] } = await sql<AgentRow & Omit<KeyHolder, "agent">>`
    select a.*, case when k.state = 'current' and exists (
        select 1 from agent_keys n where n.agent_id = k.agent_id and n.state = 'next'
          and n.added_at < clock_timestamp() - make_interval(secs => ${OLD_KEY_SECONDS}))
        then 'retired' else k.state end as key_state,
      extract(epoch from clock_timestamp() - k.retired_at)::float as retired_seconds,
      exists (select 1 from agent_boots b where b.agent_id = a.id
        and b.boot_id = ${bootId ?? null}::uuid
        and (b.replaced_at is not null or b.refused_at is not null)) as boot_replaced
    from agent_keys k join agents a on a.id = k.agent_id
    where k.thumbprint = ${thumbprint}`.execute(db);
  if (!row) return undefined;
  const { keyState, retiredSeconds, bootReplaced, ...agent } = row;
  return { agent, keyState, retiredSeconds, bootReplaced };
}

export interface NewKey {
  readonly agentId: AgentId;
  readonly thumbprint: string;
  readonly signJwk: SignJwk;
  readonly sealJwk: SealJwk;
  readonly state: "next" | "current";
}

export async function insertKey(tx: Transaction<Database>, key: NewKey): Promise<void> {
  await tx.insertInto("agentKeys").values(key).execute();
}

export async function findKey(db: Kysely<Database>, thumbprint: string) {
  return await db.selectFrom("agentKeys").selectAll().where("thumbprint", "=", thumbprint)
    .executeTakeFirst();
}

/** Makes keys of an agent worthless: all but one, or the one that was agreed and never used. */
export async function killKeys(
  tx: Transaction<Database>,
  agentId: AgentId,
  which: { readonly except: string } | { readonly state: "next" },
): Promise<void> {
  const query = tx.updateTable("agentKeys")
    .set({ state: "dead", retiredAt: sql<Temporal.Instant>`clock_timestamp()` })
    .where("agentId", "=", agentId).where("state", "<>", "dead");
  await ("except" in which
    ? query.where("thumbprint", "<>", which.except)
    : query.where("state", "=", which.state)).execute();
}

/** Puts a key of the agent in force, whatever it was before; what was in force must have left that state. */
export async function putInForce(
  tx: Transaction<Database>,
  key: { readonly agentId: AgentId; readonly thumbprint: string },
): Promise<void> {
  await sql`
    with chosen as (
      update agent_keys set state = 'current', retired_at = null
      where thumbprint = ${key.thumbprint} and agent_id = ${key.agentId} returning *
    )
    update agents a set thumbprint = c.thumbprint, sign_jwk = c.sign_jwk, seal_jwk = c.seal_jwk
    from chosen c where a.id = c.agent_id`.execute(tx);
}

/**
 * The first use of agreed keys puts them in force and ends the old ones: `retired`, or `dead` when they are changed
 * because somebody has a copy.
 */
export async function promoteNextKey(
  tx: Transaction<Database>,
  agent: AgentRow,
  thumbprint: string,
): Promise<void> {
  await tx.updateTable("agentKeys").set({
    state: agent.trustedBootId === null ? "retired" : "dead",
    retiredAt: sql<Temporal.Instant>`clock_timestamp()`,
  }).where("agentId", "=", agent.id).where("state", "=", "current").execute();
  await putInForce(tx, { agentId: agent.id, thumbprint });
  await tx.updateTable("agents").set({ trustedBootId: null, rotationRequestedAt: null })
    .where("id", "=", agent.id).execute();
}

/** Whether an agent is to make new keys: asked for by a person, after a fork, by age, or because it began to. */
export async function wantsNewKeys(db: Kysely<Database>, agentId: AgentId): Promise<boolean> {
  const { rows } = await sql<{ wanted: boolean }>`
    select a.rotation_requested_at is not null or a.trusted_boot_id is not null
      or k.added_at < clock_timestamp() - make_interval(days => ${inForce("agents.key_days")})
      or exists (select 1 from agent_keys n where n.agent_id = a.id and n.state = 'next') as wanted
    from agents a join agent_keys k on k.thumbprint = a.thumbprint
    where a.id = ${agentId}`.execute(db);
  return rows[0]?.wanted ?? false;
}

/**
 * The keys that results of an agent may be signed with, the one in force first: a result may be older than a rotation.
 * Who sends it has proven the key in force, so a key that is otherwise worthless does here.
 */
export async function resultKeysOf(db: Kysely<Database>, agentId: AgentId): Promise<JWK[]> {
  const rows = await db.selectFrom("agentKeys").select("signJwk").where("agentId", "=", agentId)
    .orderBy(sql`state = 'current'`, "desc").orderBy("addedAt", "desc").limit(RESULT_KEYS)
    .execute();
  return rows.map((row) => row.signJwk as JWK);
}

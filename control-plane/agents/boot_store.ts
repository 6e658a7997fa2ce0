import { type Kysely, type Selectable, sql, type Transaction } from "kysely";
import type { AgentId, BootId } from "@rookery/shared/ids.ts";
import type { AgentBootsTable, Database } from "../database/schema.ts";

/** So many boots of an agent are remembered, the last heard first. */
const KEPT_BOOTS = 30;

export interface KnownBoot extends Selectable<AgentBootsTable> {
  /** How long ago another boot took its place; null when none did. */
  readonly replacedSeconds: number | null;
}

export async function findBoot(
  db: Kysely<Database>,
  { agentId, bootId }: { agentId: AgentId; bootId: BootId },
): Promise<KnownBoot | undefined> {
  return await db.selectFrom("agentBoots").selectAll()
    .select(
      sql<number | null>`extract(epoch from clock_timestamp() - replaced_at)::float`
        .as("replacedSeconds"),
    )
    .where("agentId", "=", agentId).where("bootId", "=", bootId).executeTakeFirst();
}

/** A boot as it was heard now. */
export interface HeardBoot {
  readonly agentId: AgentId;
  readonly bootId: BootId;
  readonly sequence: number;
  readonly thumbprint: string;
  readonly address: string;
}

/** Notes that a boot was heard, and forgets the oldest; `admitted` when it got the session. */
export async function noteBootHeard(
  tx: Transaction<Database>,
  boot: HeardBoot,
  { admitted }: { admitted: boolean },
): Promise<void> {
  await sql`
    insert into agent_boots (agent_id, boot_id, sequence, thumbprint, address, admitted)
    values (${boot.agentId}, ${boot.bootId}, ${boot.sequence}, ${boot.thumbprint}, ${boot.address},
      ${admitted})
    on conflict (agent_id, boot_id) do update set thumbprint = excluded.thumbprint,
      address = excluded.address, last_at = clock_timestamp(),
      admitted = agent_boots.admitted or excluded.admitted`.execute(tx);
  await sql`
    delete from agent_boots where agent_id = ${boot.agentId} and boot_id in (
      select boot_id from agent_boots where agent_id = ${boot.agentId}
      order by last_at desc offset ${KEPT_BOOTS})`.execute(tx);
}

/** The boot has the session now: whichever had it before is replaced. */
export async function replaceOtherBoots(
  tx: Transaction<Database>,
  { agentId, bootId }: { agentId: AgentId; bootId: BootId },
): Promise<void> {
  await tx.updateTable("agentBoots")
    .set({ replacedAt: sql<Temporal.Instant>`clock_timestamp()` })
    .where("agentId", "=", agentId).where("bootId", "<>", bootId)
    .where("admitted", "=", true).where("replacedAt", "is", null).execute();
}

/** A person trusts one boot: it is current again, the others are refused for good. Returns those. */
export async function trustOnlyBoot(
  tx: Transaction<Database>,
  { agentId, bootId }: { agentId: AgentId; bootId: BootId },
): Promise<BootId[]> {
  await tx.updateTable("agentBoots").set({ replacedAt: null })
    .where("agentId", "=", agentId).where("bootId", "=", bootId).execute();
  const refused = await tx.updateTable("agentBoots")
    .set({ refusedAt: sql<Temporal.Instant>`clock_timestamp()` })
    .where("agentId", "=", agentId).where("bootId", "<>", bootId)
    .where("refusedAt", "is", null).returning("bootId").execute();
  return refused.map((row) => row.bootId);
}

/** The boots of an agent, the last one heard first. */
export async function selectBoots(db: Kysely<Database>, agentId: AgentId) {
  return await db.selectFrom("agentBoots").selectAll().where("agentId", "=", agentId)
    .orderBy("lastAt", "desc").orderBy("bootId").execute();
}

import { type Kysely, sql } from "kysely";
import type { AgentId, CredentialId } from "@rookery/shared/ids.ts";
import type { Database } from "../database/schema.ts";
import { isVisible, type Scope } from "../permissions/scope.ts";

export interface HeldCredentialRow {
  readonly credentialId: CredentialId;
  readonly name: string | null;
  readonly version: number;
  readonly inUse: boolean;
  readonly devices: number;
  readonly firstAt: Temporal.Instant;
  readonly lastAt: Temporal.Instant;
}

interface LedgerSelection {
  readonly agentId: AgentId;
  readonly scope: Scope;
  readonly after?: readonly [CredentialId, number] | undefined;
  readonly limit: number;
}

/** Every credential version that was ever sealed to an agent, from the ledger of deliveries. */
export async function selectHeldCredentials(
  db: Kysely<Database>,
  { agentId, scope, after, limit }: LedgerSelection,
): Promise<HeldCredentialRow[]> {
  const [credentialId, version] = after ?? [null, null];
  const { rows } = await sql<HeldCredentialRow>`
    with held as (
      select d.credential_id, d.version, count(distinct g.device_id)::int as devices,
        min(d.at) as first_at, max(d.at) as last_at
      from secret_deliveries d left join grants g on g.lease_id = d.lease_id
      where d.agent_id = ${agentId} and ${isVisible("d.site_id", scope)}
        and (${credentialId}::uuid is null
          or (d.credential_id, d.version) > (${credentialId}::uuid, ${version}::int))
      group by d.credential_id, d.version
      order by d.credential_id, d.version limit ${limit}
    )
    select h.*, c.name, coalesce(c.current_version = h.version, false) as in_use
    from held h left join credentials c on c.id = h.credential_id
    order by h.credential_id, h.version`.execute(db);
  return rows;
}

/** How many credential versions an agent ever held. */
export async function countHeldCredentials(
  db: Kysely<Database>,
  { agentId, scope }: { readonly agentId: AgentId; readonly scope: Scope },
): Promise<number> {
  const { rows } = await sql<{ held: number }>`
    select count(distinct (d.credential_id, d.version))::int as held from secret_deliveries d
    where d.agent_id = ${agentId} and ${isVisible("d.site_id", scope)}`.execute(db);
  return rows[0]?.held ?? 0;
}

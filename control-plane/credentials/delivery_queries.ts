import { type Kysely, sql } from "kysely";
import { AgentId, CredentialId, type SiteId } from "@rookery/shared/ids.ts";
import { z } from "zod";
import type { Database } from "../database/schema.ts";
import { isVisible, type Scope } from "../permissions/scope.ts";

/** An agent that was given a version of a credential for devices of a site. */
export interface HolderRow {
  readonly credentialId: CredentialId;
  readonly version: number;
  readonly agentId: AgentId;
  readonly agentName: string;
  readonly agentStatus: string;
  readonly siteId: SiteId;
  readonly thumbprint: string;
  readonly deliveries: number;
  readonly firstAt: Temporal.Instant;
  readonly lastAt: Temporal.Instant;
}

/** Where a page of holders ends. */
export const HolderPosition = z.tuple([
  CredentialId,
  AgentId,
  z.int().min(0).max(2_147_483_647),
  z.uuid(),
  z.string().max(100),
]);
export type HolderPosition = z.infer<typeof HolderPosition>;

export function positionOf(row: HolderRow): HolderPosition {
  return [row.credentialId, row.agentId, row.version, row.siteId, row.thumbprint];
}

export interface HolderSelection {
  readonly scope: Scope;
  readonly limit: number;
  readonly credentialId?: CredentialId;
  readonly agentId?: AgentId;
  readonly after?: HolderPosition | undefined;
}

/** Who ever held what: all holders of a credential, or all that an agent held. Sites that may not be seen are left out. */
export async function selectHolders(
  db: Kysely<Database>,
  selection: HolderSelection,
): Promise<HolderRow[]> {
  const { after, agentId, credentialId, limit, scope } = selection;
  const [lastCredential, lastAgent, lastVersion, lastSite, lastThumbprint] = after ?? [];
  const { rows } = await sql<HolderRow>`
    select h.credential_id, h.version, h.agent_id, a.name as agent_name, a.status as agent_status,
      h.site_id, h.thumbprint, h.deliveries::int, h.first_at, h.last_at
    from credential_holders h join agents a on a.id = h.agent_id
    where ${isVisible("h.site_id", scope)}
      ${credentialId === undefined ? sql`` : sql`and h.credential_id = ${credentialId}`}
      ${agentId === undefined ? sql`` : sql`and h.agent_id = ${agentId}`}
      ${
    after === undefined
      ? sql``
      : sql`and (h.credential_id, h.agent_id, h.version, h.site_id, h.thumbprint) >
        (${lastCredential}::uuid, ${lastAgent}::uuid, ${lastVersion}::int, ${lastSite}::uuid,
         ${lastThumbprint}::text)`
  }
    order by h.credential_id, h.agent_id, h.version, h.site_id, h.thumbprint limit ${limit}`
    .execute(db);
  return rows;
}

/** A holder as the wire has it. */
export function holderOf(row: HolderRow) {
  return { ...row, firstAt: row.firstAt.toString(), lastAt: row.lastAt.toString() };
}

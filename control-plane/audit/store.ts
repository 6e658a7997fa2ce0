import { type Kysely, sql, type Transaction } from "kysely";
import type { AuditFilter } from "@rookery/shared/api/audit.ts";
import type { SiteId } from "@rookery/shared/ids.ts";
import { newId } from "../database/new_id.ts";
import type { Database } from "../database/schema.ts";
import type { Caller } from "../http/caller.ts";
import { type Scope, whereVisible } from "../permissions/scope.ts";
import { maskSecrets } from "./mask_secrets.ts";
import { rowMatches } from "./row_filter.ts";

/** Who did something, from where, in which request. */
export interface Actor {
  readonly kind: "user" | "api_token" | "agent" | "system";
  readonly id: string | null;
  readonly name: string;
  readonly address: string;
  readonly requestId: string;
}

/** One change of state. `detail` says what changed and never holds a secret. */
export interface AuditEntry {
  readonly actor: Actor;
  /** `device.create`: noun and verb. */
  readonly action: string;
  readonly target?: { readonly kind: string; readonly id: string };
  readonly siteId?: SiteId | null;
  readonly detail?: Readonly<Record<string, unknown>>;
}

/** The actor behind a request. */
export function actorOf(
  context: { readonly caller: Caller; readonly address: string; readonly requestId: string },
): Actor {
  const { address, requestId } = context;
  return { ...nameOf(context.caller), address, requestId };
}

/** The control plane itself, or somebody at its console. */
export function systemActor(name: string): Actor {
  return { kind: "system", id: null, name, address: "", requestId: "" };
}

function nameOf(caller: Caller): Pick<Actor, "kind" | "id" | "name"> {
  if (caller.kind === "agent") return { kind: "agent", id: caller.agentId, name: caller.name };
  if (caller.kind === "anonymous") return { kind: "system", id: null, name: "anonymous" };
  const { via, username } = caller;
  return via.kind === "api_token"
    ? { kind: "api_token", id: via.tokenId, name: `${username}/${via.tokenName}` }
    : { kind: "user", id: caller.userId, name: username };
}

/** Writes an audit row in the transaction of the change itself: neither exists without the other. */
export async function writeAudit(tx: Transaction<Database>, entry: AuditEntry): Promise<void> {
  await writeAudits(tx, [entry]);
}

/** The same for many changes of one transaction. */
export async function writeAudits(
  tx: Transaction<Database>,
  entries: readonly AuditEntry[],
): Promise<void> {
  if (entries.length === 0) return;
  await tx.insertInto("auditRows").values(entries.map(rowOf)).execute();
}

function rowOf({ actor, action, target, siteId, detail }: AuditEntry) {
  return {
    id: newId<string>(),
    actorKind: actor.kind,
    actorId: actor.id,
    actorName: actor.name,
    action,
    targetKind: target?.kind ?? "",
    targetId: target?.id ?? "",
    siteId: siteId ?? null,
    address: actor.address,
    requestId: actor.requestId,
    detail: maskSecrets(detail ?? {}),
  };
}

/** Which rows, newest first; `before` is the position of the last row of the page before. */
export interface AuditSelection extends AuditFilter {
  readonly scope: Scope;
  readonly limit: number;
  readonly before?: { readonly at: string; readonly id: string } | undefined;
}

/**
 * Reads audit rows for people, newest first. It is no source for an export: a transaction that began earlier and commits
 * later puts its rows behind pages that were read already (`export_rows.ts`).
 */
export function selectAuditRows(db: Kysely<Database>, selection: AuditSelection) {
  const { before, scope, limit, ...filter } = selection;
  return whereVisible(db.selectFrom("auditRows").selectAll(), "siteId", scope)
    .where(rowMatches(filter))
    .$if(
      before !== undefined,
      (query) =>
        query.where(sql<boolean>`(at, id) < (${before?.at}::timestamptz, ${before?.id}::uuid)`),
    )
    .orderBy("at", "desc").orderBy("id", "desc").limit(limit).execute();
}

import type { Kysely, Transaction } from "kysely";
import { decideQuarantine, listQuarantine, type Revision } from "@rookery/shared/api/backups.ts";
import type { HandlerInput } from "@rookery/shared/endpoint.ts";
import { RevisionId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { type Actor, actorOf, writeAudit } from "../audit/store.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import type { App } from "../http/app_type.ts";
import { pageOf, readCursor } from "../http/page.ts";
import { route } from "../http/route.ts";
import type { Scope } from "../permissions/scope.ts";
import { decideRevision, type Decision } from "./decide_quarantine.ts";
import { renderText } from "./render_text.ts";
import { revisionOf } from "./replies.ts";
import type { BackupsContext } from "./routes.ts";
import { type RevisionRow, selectRevisions } from "./store.ts";

/** What waits for a decision, and the decisions. */
export function mountQuarantine(app: App, { db, ...services }: BackupsContext): void {
  route(app, listQuarantine, async ({ query: { limit, cursor, ...filter } }, { scope }) => {
    const before = readCursor(cursor, RevisionId);
    const selection = { ...filter, scope, before, state: "quarantined" as const, limit: limit + 1 };
    const rows = await selectRevisions(db, selection);
    return pageOf(rows, limit, { item: revisionOf, position: (row) => row.id });
  });

  route(app, decideQuarantine, async ({ body: { decision, ...which } }, context) => {
    const { scope, caller: { userId: decidedBy } } = context;
    const ids = await readChosen(db, { ...which, scope });
    const items: Revision[] = [];
    for (let at = 0; at < ids.length; at += AT_ONCE) {
      const piece = ids.slice(at, at + AT_ONCE);
      const decisions: Decision[] = [];
      for (const revision of await readRevisions(db, { scope, ids: piece })) {
        const source = { ...services, ...revision, rawSha256: revision.sha256 };
        const text = decision === "accept" ? await renderText(db, source) : null;
        decisions.push({ decision, decidedBy, revision, text });
      }
      await inTransaction(db, (tx) => decideAll(tx, { decisions, actor: actorOf(context) }));
      items.push(...(await readRevisions(db, { scope, ids: piece })).map(revisionOf));
    }
    return { items };
  });
}

/** Decided in one transaction: their texts are all in memory until then. */
const AT_ONCE = 100;

type Choice = Omit<HandlerInput<typeof decideQuarantine>["body"], "decision">;

/** Those that are named, or all that wait at a site when they are as many as the caller has seen. */
async function readChosen(
  db: Kysely<Database>,
  { scope, revisionIds, siteId, expected = 0 }: Choice & { readonly scope: Scope },
): Promise<readonly RevisionId[]> {
  if (revisionIds !== undefined) return [...new Set(revisionIds)];
  const selection = { scope, siteId, state: "quarantined" as const, limit: expected + 1 };
  const waiting = await selectRevisions(db, selection);
  if (waiting.length === expected) return inOrder(waiting).map(({ id }) => id);
  const count = waiting.length > expected ? `more than ${expected}` : waiting.length;
  throw new ProblemError(
    "conflict",
    `There wait ${count} configurations at the site, and not ${expected}: look at them again.`,
  );
}

async function decideAll(
  tx: Transaction<Database>,
  { decisions, actor }: { readonly decisions: readonly Decision[]; readonly actor: Actor },
): Promise<void> {
  for (const one of decisions) {
    await decideRevision(tx, one);
    const { id, siteId, deviceId, capture, number } = one.revision;
    const target = { kind: "revision", id };
    const detail = { deviceId, capture, number };
    await writeAudit(tx, { actor, action: `revision.${one.decision}`, target, siteId, detail });
  }
}

/** In one order for everybody, so that two decisions about the same ones wait instead of deadlocking. */
async function readRevisions(
  db: Kysely<Database>,
  { scope, ids }: { readonly scope: Scope; readonly ids: readonly RevisionId[] },
): Promise<RevisionRow[]> {
  const revisions = await selectRevisions(db, { scope, ids, limit: ids.length });
  if (revisions.length < ids.length) {
    throw new ProblemError("not-found", "There is no such revision among them.");
  }
  return inOrder(revisions);
}

function inOrder(revisions: readonly RevisionRow[]): RevisionRow[] {
  const key = ({ deviceId, id }: RevisionRow) => `${deviceId} ${id}`;
  return revisions.toSorted((left, right) => key(left) < key(right) ? -1 : 1);
}

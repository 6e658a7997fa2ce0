import type { Kysely, Transaction } from "kysely";
import {
  decideQuarantine,
  diffRevision,
  downloadExactRevision,
  getDeviceStatus,
  getRevision,
  listBackups,
  listQuarantine,
  listRevisions,
  readRevisionText,
  readUnifiedDiff,
} from "@rookery/shared/api/backups.ts";
import type { HandlerInput } from "@rookery/shared/endpoint.ts";
import { BackupId, type DeviceId, RevisionId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { type Actor, actorOf, writeAudit } from "../audit/store.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import type { App } from "../http/app_type.ts";
import { pageOf, readCursor } from "../http/page.ts";
import { route, type RouteContext } from "../http/route.ts";
import type { Scope } from "../permissions/scope.ts";
import { compareRevisions } from "./compare_revisions.ts";
import { decideRevision, type Decision } from "./decide_quarantine.ts";
import { readExact, renderText, type TextServices } from "./render_text.ts";
import { backupOf, revisionOf, statusOf } from "./replies.ts";
import { fileNameOf } from "./revision_names.ts";
import {
  type RevisionRow,
  selectBackups,
  selectDeviceName,
  selectDeviceStatus,
  selectRevisions,
  selectVisibleDevice,
} from "./store.ts";
import { formatUnified } from "./unified_diff.ts";

export interface BackupsContext extends TextServices {
  readonly db: Kysely<Database>;
}

/** What was backed up: status, attempts, revisions, texts, differences, quarantine. */
export function mountBackups(app: App, context: BackupsContext): void {
  mountLists(app, context);
  mountRevisions(app, context);
  mountDiffs(app, context);
  mountQuarantine(app, context);
}

function mountLists(app: App, { db }: BackupsContext): void {
  route(app, getDeviceStatus, async ({ params }, { scope }) => {
    const { id: deviceId, siteId } = await readDevice(db, { scope, ...params });
    return statusOf({ deviceId, siteId }, await selectDeviceStatus(db, deviceId));
  });

  route(app, listBackups, async ({ params, query: { limit, cursor } }, { scope }) => {
    const { id: deviceId, siteId } = await readDevice(db, { scope, ...params });
    const before = readCursor(cursor, BackupId);
    const rows = await selectBackups(db, { siteId, deviceId, before, limit: limit + 1 });
    return pageOf(rows, limit, { item: backupOf, position: (row) => row.id });
  });

  route(app, listRevisions, async ({ params, query }, { scope }) => {
    const { limit, cursor, ...filter } = query;
    const { id: deviceId } = await readDevice(db, { scope, ...params });
    const before = readCursor(cursor, RevisionId);
    const selection = { ...filter, scope, deviceId, before, limit: limit + 1 };
    const rows = await selectRevisions(db, selection);
    return pageOf(rows, limit, { item: revisionOf, position: (row) => row.id });
  });
}

function mountRevisions(app: App, { db, ...services }: BackupsContext): void {
  route(app, getRevision, async ({ params: { revisionId } }, { scope }) => {
    return revisionOf(await readRevision(db, { scope, revisionId }));
  });

  route(app, readRevisionText, async ({ params: { revisionId } }, context) => {
    const revision = await readRevision(db, { scope: context.scope, revisionId });
    await nameReply(db, { context, revision, as: "inline", suffix: ".masked.cfg" });
    return await renderText(db, { ...services, ...revision, rawSha256: revision.sha256 });
  });

  route(app, downloadExactRevision, async ({ params: { revisionId } }, context) => {
    const revision = await readRevision(db, { scope: context.scope, revisionId });
    const bytes = await readExact(db, { ...services, ...revision, rawSha256: revision.sha256 });
    const { siteId, deviceId, capture, number, sha256 } = revision;
    // Written before a byte leaves: nobody gets the secrets unseen.
    await inTransaction(db, (tx) =>
      writeAudit(tx, {
        actor: actorOf(context),
        action: "revision.download_exact",
        target: { kind: "revision", id: revisionId },
        siteId,
        detail: { deviceId, capture, number, sha256 },
      }));
    const digest = Uint8Array.fromHex(sha256).toBase64();
    await nameReply(db, { context, revision, as: "attachment", suffix: ".cfg" });
    context.setHeader("repr-digest", `sha-256=:${digest}:`);
    return bytes;
  });
}

/** What a browser calls the file that it makes of a reply. */
async function nameReply(
  db: Kysely<Database>,
  { context, revision, as, suffix }: {
    readonly context: Pick<RouteContext, "setHeader">;
    readonly revision: RevisionRow;
    readonly as: "inline" | "attachment";
    readonly suffix: string;
  },
): Promise<void> {
  const device = await selectDeviceName(db, revision);
  const name = `${fileNameOf({ device, revision })}${suffix}`;
  context.setHeader("content-disposition", `${as}; filename="${name}"`);
}

type DiffInput = Pick<HandlerInput<typeof diffRevision>, "params" | "query">;

function mountDiffs(app: App, { db, ...services }: BackupsContext): void {
  const compare = async ({ params, query }: DiffInput, scope: Scope) => {
    const revision = await readRevision(db, { scope, ...params });
    const before = query.against === undefined
      ? undefined
      : await readRevision(db, { scope, revisionId: query.against });
    const compared = await compareRevisions(db, { ...services, ...query, revision, before });
    return { ...compared, revision };
  };
  route(app, diffRevision, async (input, { scope }) => (await compare(input, scope)).diff);
  route(app, readUnifiedDiff, async (input, context) => {
    const { diff, names, revision } = await compare(input, context.scope);
    await nameReply(db, { context, revision, as: "inline", suffix: ".diff" });
    return formatUnified(diff, names);
  });
}

function mountQuarantine(app: App, { db, ...services }: BackupsContext): void {
  route(app, listQuarantine, async ({ query: { limit, cursor, ...filter } }, { scope }) => {
    const before = readCursor(cursor, RevisionId);
    const selection = { ...filter, scope, before, state: "quarantined" as const, limit: limit + 1 };
    const rows = await selectRevisions(db, selection);
    return pageOf(rows, limit, { item: revisionOf, position: (row) => row.id });
  });

  route(app, decideQuarantine, async ({ body: { decision, revisionIds } }, context) => {
    const { scope, caller: { userId: decidedBy } } = context;
    const ids = [...new Set(revisionIds)];
    const decisions: Decision[] = [];
    for (const revision of await readRevisions(db, { scope, ids })) {
      const text = await renderText(db, { ...services, ...revision, rawSha256: revision.sha256 });
      decisions.push({ decision, decidedBy, revision, text });
    }
    await inTransaction(db, (tx) => decideAll(tx, { decisions, actor: actorOf(context) }));
    return { items: (await readRevisions(db, { scope, ids })).map(revisionOf) };
  });
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

async function readDevice(
  db: Kysely<Database>,
  of: { readonly scope: Scope; readonly deviceId: DeviceId },
) {
  const device = await selectVisibleDevice(db, of);
  if (!device) throw new ProblemError("not-found", "There is no such device.");
  return device;
}

async function readRevision(
  db: Kysely<Database>,
  { scope, revisionId }: { readonly scope: Scope; readonly revisionId: RevisionId },
): Promise<RevisionRow> {
  const [revision] = await selectRevisions(db, { scope, ids: [revisionId], limit: 1 });
  if (!revision) throw new ProblemError("not-found", "There is no such revision.");
  return revision;
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
  const key = ({ deviceId, id }: RevisionRow) => `${deviceId} ${id}`;
  return revisions.sort((left, right) => key(left) < key(right) ? -1 : 1);
}

import type { Kysely } from "kysely";
import {
  closeHostKeyWindow,
  decideHostKeys,
  importKnownHosts,
  listHostKeyWindows,
  openHostKeyWindow,
} from "@rookery/shared/api/host_keys.ts";
import { type DeviceId, HostKeyWindowId, type SiteId } from "@rookery/shared/ids.ts";
import { ProblemError, refusedField } from "@rookery/shared/problem.ts";
import { actorOf, writeAudit } from "../audit/store.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import { selectDevices } from "../devices/store.ts";
import type { App } from "../http/app_type.ts";
import { pageOf, readCursor } from "../http/page.ts";
import { route } from "../http/route.ts";
import { isSiteVisible } from "../jobs/job_queries.ts";
import type { Scope } from "../permissions/scope.ts";
import { ambiguousOf, countVisible, decideKeys, lockWaiting } from "./decide.ts";
import { importHost, matchHosts } from "./import_known_hosts.ts";
import { closeWindow, insertWindow, selectWindows, type WindowRow } from "./windows.ts";

/** Many host keys at once: decisions in bulk, changes that are expected, and known_hosts files. */
export function mountHostKeyLists(app: App, { db }: { readonly db: Kysely<Database> }): void {
  route(app, decideHostKeys, async ({ body }, context) => {
    const { scope, caller: { userId } } = context;
    const { decision, hostKeyIds, siteId, expected } = body;
    if (siteId !== undefined) await refuseNoSite(db, { scope, siteId });
    if (hostKeyIds && await countVisible(db, { scope, hostKeyIds }) < new Set(hostKeyIds).size) {
      throw refused("hostKeyIds", "names a key that is not there");
    }
    return await inTransaction(db, async (tx) => {
      const waiting = await lockWaiting(tx, { scope, hostKeyIds, siteId });
      if (expected !== undefined && waiting.length !== expected) {
        throw new ProblemError(
          "conflict",
          `There wait ${waiting.length} keys at the site, and not ${expected}: look at them again.`,
        );
      }
      const ambiguous = siteId !== undefined && decision === "accept" ? ambiguousOf(waiting) : [];
      const keys = waiting.filter(({ deviceId }) => !ambiguous.includes(deviceId));
      await decideKeys(tx, { decision, keys, userId });
      for (const { id, siteId, deviceId, fingerprint } of keys) {
        const entry = { action: `host_key.${decision}`, target: { kind: "host_key", id }, siteId };
        await writeAudit(tx, {
          ...entry,
          actor: actorOf(context),
          detail: { deviceId, fingerprint },
        });
      }
      return { decided: keys.length, ambiguous };
    });
  });

  route(app, importKnownHosts, async ({ body }, context) => {
    const { scope, caller: { userId } } = context;
    const { siteId } = body;
    await refuseNoSite(db, { scope, siteId });
    const matched = await matchHosts(db, body);
    const items = await inTransaction(db, async (tx) => {
      const reports = [];
      for (const host of matched) reports.push(await importHost(tx, host, userId));
      const counts = Object.fromEntries(
        [...Map.groupBy(reports, ({ status }) => status)].map(([name, of]) => [name, of.length]),
      );
      const entry = { action: "host_key.import", target: { kind: "site", id: siteId }, siteId };
      await writeAudit(tx, { ...entry, actor: actorOf(context), detail: counts });
      return reports;
    });
    return { items };
  });

  route(app, listHostKeyWindows, async ({ query: { limit, cursor, siteId } }, { scope }) => {
    const after = readCursor(cursor, HostKeyWindowId);
    const rows = await selectWindows(db, { scope, siteId, after, limit: limit + 1 });
    return pageOf(rows, limit, { item: windowOf, position: (row) => row.id });
  });

  route(app, openHostKeyWindow, async ({ body }, context) => {
    const { scope, caller: { userId } } = context;
    const over = await targetOf(db, scope, body);
    const { minutes } = body;
    const windowId = await inTransaction(db, async (tx) => {
      const id = await insertWindow(tx, { ...over, minutes, userId });
      const target = { kind: "host_key_window", id };
      const entry = { action: "host_key_window.open", target, siteId: over.siteId };
      await writeAudit(tx, { ...entry, actor: actorOf(context), detail: { ...over, minutes } });
      return id;
    });
    return windowOf(await readWindow(db, scope, windowId));
  });

  route(app, closeHostKeyWindow, async ({ params: { windowId } }, context) => {
    const { siteId } = await readWindow(db, context.scope, windowId);
    await inTransaction(db, async (tx) => {
      if (!await closeWindow(tx, windowId)) {
        throw new ProblemError("conflict", "The time is over already.");
      }
      const target = { kind: "host_key_window", id: windowId };
      const entry = { action: "host_key_window.close", target, siteId };
      await writeAudit(tx, { ...entry, actor: actorOf(context) });
    });
  });
}

/** What a window is over; a device brings its site. */
async function targetOf(
  db: Kysely<Database>,
  scope: Scope,
  { siteId, deviceId }: { siteId?: SiteId | undefined; deviceId?: DeviceId | undefined },
): Promise<{ siteId: SiteId; deviceId: DeviceId | null }> {
  if (deviceId !== undefined) {
    const [device] = await selectDevices(db, { scope, deviceId, limit: 1 });
    if (!device) throw refused("deviceId", "there is no such device");
    return { siteId: device.siteId, deviceId };
  }
  if (siteId === undefined) throw refused("siteId", "name either siteId or deviceId");
  await refuseNoSite(db, { scope, siteId });
  return { siteId, deviceId: null };
}

async function refuseNoSite(
  db: Kysely<Database>,
  site: { scope: Scope; siteId: SiteId },
): Promise<void> {
  if (!await isSiteVisible(db, site)) throw refused("siteId", "there is no such site");
}

async function readWindow(db: Kysely<Database>, scope: Scope, windowId: HostKeyWindowId) {
  const [row] = await selectWindows(db, { scope, windowId, limit: 1 });
  if (!row) throw new ProblemError("not-found", "There is no such window.");
  return row;
}

function refused(field: string, detail: string): ProblemError {
  return refusedField(`#/${field}`, detail);
}

function windowOf(row: WindowRow) {
  return {
    ...row,
    openedAt: row.openedAt.toString(),
    closesAt: row.closesAt.toString(),
    closedAt: row.closedAt?.toString() ?? null,
  };
}

import type { Kysely, Selectable } from "kysely";
import {
  acceptHostKey,
  createHostKey,
  listHostKeys,
  rejectHostKey,
} from "@rookery/shared/api/host_keys.ts";
import { HostKeyId } from "@rookery/shared/ids.ts";
import { ProblemError, refusedField } from "@rookery/shared/problem.ts";
import { actorOf, writeAudit } from "../audit/store.ts";
import { newId } from "../database/new_id.ts";
import type { Database, HostKeysTable } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import { selectDevices } from "../devices/store.ts";
import type { App } from "../http/app_type.ts";
import { pageOf, readCursor } from "../http/page.ts";
import { route } from "../http/route.ts";
import type { Scope } from "../permissions/scope.ts";
import * as store from "./store.ts";

/** Host keys: what was pinned at first use, and what waits for a decision. */
export function mountHostKeys(app: App, { db }: { readonly db: Kysely<Database> }): void {
  route(app, listHostKeys, async ({ query: { limit, cursor, ...filter } }, { scope }) => {
    const after = readCursor(cursor, HostKeyId);
    const rows = await store.selectHostKeys(db, { ...filter, scope, after, limit: limit + 1 });
    return pageOf(rows, limit, { item: hostKeyOf, position: (row) => row.id });
  });

  route(app, createHostKey, async ({ body }, context) => {
    const { scope, caller: { userId } } = context;
    const { deviceId } = body;
    const [device] = await selectDevices(db, { scope, deviceId, limit: 1 });
    if (!device) throw noDevice();
    const id = await inTransaction(db, async (tx) => {
      const id = await store.upsertPin(tx, { ...body, id: newId<HostKeyId>(), userId });
      const entry = { action: "host_key.create", target: { kind: "host_key", id } };
      const { siteId } = device;
      await writeAudit(tx, { ...entry, actor: actorOf(context), siteId, detail: body });
      return id;
    });
    return hostKeyOf(await readHostKey(db, scope, id));
  });

  route(app, acceptHostKey, async ({ params: { hostKeyId } }, context) => {
    const { scope, caller: { userId } } = context;
    const { deviceId, siteId, fingerprint } = await readHostKey(db, scope, hostKeyId);
    await inTransaction(db, async (tx) => {
      await store.pinOnly(tx, { deviceId, hostKeyId, userId });
      const entry = { action: "host_key.accept", target: { kind: "host_key", id: hostKeyId } };
      const detail = { deviceId, fingerprint };
      await writeAudit(tx, { ...entry, actor: actorOf(context), siteId, detail });
    });
    return hostKeyOf(await readHostKey(db, scope, hostKeyId));
  });

  route(app, rejectHostKey, async ({ params: { hostKeyId } }, context) => {
    const { scope, caller: { userId } } = context;
    const { deviceId, siteId, fingerprint } = await readHostKey(db, scope, hostKeyId);
    await inTransaction(db, async (tx) => {
      await store.reject(tx, { hostKeyId, userId });
      const entry = { action: "host_key.reject", target: { kind: "host_key", id: hostKeyId } };
      const detail = { deviceId, fingerprint };
      await writeAudit(tx, { ...entry, actor: actorOf(context), siteId, detail });
    });
    return hostKeyOf(await readHostKey(db, scope, hostKeyId));
  });
}

async function readHostKey(db: Kysely<Database>, scope: Scope, hostKeyId: HostKeyId) {
  const [row] = await store.selectHostKeys(db, { scope, hostKeyId, limit: 1 });
  if (!row) throw new ProblemError("not-found", "There is no such host key.");
  return row;
}

function noDevice(): ProblemError {
  const detail = "there is no such device";
  return refusedField("#/deviceId", detail);
}

function hostKeyOf(row: Selectable<HostKeysTable> & { readonly changed: boolean }) {
  return {
    ...row,
    firstSeenAt: row.firstSeenAt.toString(),
    lastSeenAt: row.lastSeenAt.toString(),
    decidedAt: row.decidedAt?.toString() ?? null,
  };
}

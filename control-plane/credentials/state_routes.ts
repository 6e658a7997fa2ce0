import type { Kysely } from "kysely";
import {
  listCredentialDeliveries,
  listCredentialDevices,
  listCredentialVersions,
  releaseCredential,
  releaseCredentialDevice,
} from "@rookery/shared/api/credentials.ts";
import { DeviceId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { z } from "zod";
import { actorOf, writeAudit } from "../audit/store.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import { selectDevices } from "../devices/store.ts";
import type { App } from "../http/app_type.ts";
import { pageOf, readCursor } from "../http/page.ts";
import { route } from "../http/route.ts";
import { holderOf, HolderPosition, positionOf, selectHolders } from "./delivery_queries.ts";
import { credentialOf, readCredential } from "./read_credential.ts";
import { selectVersions, type VersionRow } from "./store.ts";
import { releaseDevice, releaseVersion, selectUses, type UseRow } from "./use_store.ts";

const Version = z.int().min(1).max(2_147_483_647);

/** How credentials fare: their versions, who uses them, who held them, and the way out of a quarantine. */
export function mountCredentialStates(
  app: App,
  { db, wakeups }: { readonly db: Kysely<Database>; readonly wakeups: { notifyAll(): void } },
): void {
  route(app, listCredentialVersions, async ({ params, query: { limit, cursor } }, { scope }) => {
    const { credentialId } = params;
    await readCredential(db, scope, credentialId);
    const before = readCursor(cursor, Version);
    const rows = await selectVersions(db, { scope, credentialId, before, limit: limit + 1 });
    return pageOf(rows, limit, { item: versionOf, position: (row) => row.version });
  });

  route(app, listCredentialDevices, async ({ params, query }, { scope }) => {
    const { limit, cursor, state } = query;
    const { credentialId } = params;
    await readCredential(db, scope, credentialId);
    const after = readCursor(cursor, DeviceId);
    const rows = await selectUses(db, { scope, credentialId, after, state, limit: limit + 1 });
    return pageOf(rows, limit, { item: useOf, position: (row) => row.deviceId });
  });

  route(app, listCredentialDeliveries, async ({ params, query: { limit, cursor } }, { scope }) => {
    const { credentialId } = params;
    await readCredential(db, scope, credentialId);
    const after = readCursor(cursor, HolderPosition);
    const rows = await selectHolders(db, { scope, credentialId, after, limit: limit + 1 });
    return pageOf(rows, limit, { item: holderOf, position: positionOf });
  });

  route(app, releaseCredential, async ({ params: { credentialId } }, context) => {
    const { version } = await readCredential(db, context.scope, credentialId);
    await inTransaction(db, async (tx) => {
      if (!await releaseVersion(tx, credentialId)) {
        throw new ProblemError("conflict", "The credential is not quarantined.");
      }
      const target = { kind: "credential", id: credentialId };
      const entry = { action: "credential.release", target, detail: { version } };
      await writeAudit(tx, { ...entry, actor: actorOf(context) });
    });
    wakeups.notifyAll();
    return credentialOf(await readCredential(db, context.scope, credentialId));
  });

  route(app, releaseCredentialDevice, async ({ params }, context) => {
    const { credentialId, deviceId } = params;
    const { scope } = context;
    const { version } = await readCredential(db, scope, credentialId);
    const [device] = await selectDevices(db, { scope, deviceId, limit: 1 });
    if (!device) throw new ProblemError("not-found", "There is no such device.");
    const { siteId } = device;
    await inTransaction(db, async (tx) => {
      if (!await releaseDevice(tx, { credentialId, deviceId })) {
        throw new ProblemError("conflict", "The device has not refused the credential.");
      }
      const target = { kind: "credential", id: credentialId };
      const entry = { action: "credential.release_device", target, siteId };
      await writeAudit(tx, { ...entry, actor: actorOf(context), detail: { version, deviceId } });
    });
  });
}

function versionOf(row: VersionRow) {
  return {
    ...row,
    stateSince: row.stateSince.toString(),
    lastSuccessAt: row.lastSuccessAt?.toString() ?? null,
    lastRefusedAt: row.lastRefusedAt?.toString() ?? null,
    createdAt: row.createdAt.toString(),
  };
}

function useOf(row: UseRow) {
  return {
    ...row,
    firstRefusedAt: row.firstRefusedAt?.toString() ?? null,
    lastRefusedAt: row.lastRefusedAt?.toString() ?? null,
    quarantinedAt: row.quarantinedAt?.toString() ?? null,
  };
}

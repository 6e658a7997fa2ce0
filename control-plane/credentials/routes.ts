import type { Kysely, Transaction } from "kysely";
import {
  createCredential,
  deleteCredential,
  getCredential,
  listCredentials,
  updateCredential,
} from "@rookery/shared/api/credentials.ts";
import { CredentialId } from "@rookery/shared/ids.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { given } from "../audit/changed_fields.ts";
import { actorOf, writeAudit } from "../audit/store.ts";
import { refuseDuplicates } from "../database/constraints.ts";
import { newId } from "../database/new_id.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import type { App } from "../http/app_type.ts";
import { pageOf, readCursor } from "../http/page.ts";
import { route } from "../http/route.ts";
import type { KeyRing } from "../keys/key_ring.ts";
import type { Scope } from "../permissions/scope.ts";
import { chooseTenant } from "../tenants/store.ts";
import * as store from "./store.ts";
import { type CredentialSecrets, sealSecrets } from "./vault.ts";

const DUPLICATES = {
  credentials_name: ["name", "another credential of the tenant has this name"],
} as const;

export interface CredentialServices {
  readonly db: Kysely<Database>;
  readonly keyRing: KeyRing;
}

/** Credentials: secrets go in, are sealed at once, and never come out. */
export function mountCredentials(app: App, { db, keyRing }: CredentialServices): void {
  route(app, listCredentials, async ({ query: { limit, cursor } }, { scope }) => {
    const after = readCursor(cursor, CredentialId);
    const rows = await store.selectCredentials(db, { scope, after, limit: limit + 1 });
    return pageOf(rows, limit, { item: credentialOf, position: (row) => row.id });
  });

  route(app, getCredential, async ({ params }, { scope }) => {
    return credentialOf(await readCredential(db, scope, params.credentialId));
  });

  route(app, createCredential, async ({ body }, context) => {
    const id = newId<CredentialId>();
    const { name, username, tenantId: wanted, ...secrets } = body;
    await refuseDuplicates(DUPLICATES, () =>
      inTransaction(db, async (tx) => {
        const tenantId = await chooseTenant(tx, { scope: context.scope, tenantId: wanted });
        await store.insertCredential(tx, { id, tenantId, name, username });
        await addVersion(tx, keyRing, { id, version: 1, secrets: given(secrets) });
        const entry = { action: "credential.create", target: { kind: "credential", id } };
        const detail = { name, username, given: Object.keys(given(secrets)) };
        await writeAudit(tx, { ...entry, actor: actorOf(context), detail });
      }));
    return credentialOf(await readCredential(db, context.scope, id));
  });

  route(app, updateCredential, async ({ params: { credentialId: id }, body }, context) => {
    await readCredential(db, context.scope, id);
    const { name, username, ...rest } = body;
    const secrets: CredentialSecrets = given(rest);
    await refuseDuplicates(DUPLICATES, () =>
      inTransaction(db, async (tx) => {
        const rotated = Object.keys(secrets).length > 0;
        const version = await store.lockVersion(tx, id) + (rotated ? 1 : 0);
        if (rotated) await addVersion(tx, keyRing, { id, version, secrets });
        await store.updateCredential(tx, id, {
          ...given({ name, username }),
          currentVersion: version,
        });
        const entry = { action: "credential.update", target: { kind: "credential", id } };
        const detail = { ...given({ name, username }), given: Object.keys(secrets), version };
        await writeAudit(tx, { ...entry, actor: actorOf(context), detail });
      }));
    return credentialOf(await readCredential(db, context.scope, id));
  });

  route(app, deleteCredential, async ({ params: { credentialId: id } }, context) => {
    refuseUsed(await readCredential(db, context.scope, id));
    await refuseDuplicates({}, () =>
      inTransaction(db, async (tx) => {
        await store.deleteCredential(tx, id);
        const entry = { action: "credential.delete", target: { kind: "credential", id } };
        await writeAudit(tx, { ...entry, actor: actorOf(context) });
      }));
  });
}

function refuseUsed({ devices, archivedDevices }: store.CredentialRow): void {
  if (devices + archivedDevices === 0) return;
  throw new ProblemError(
    "in-use",
    `Devices in use that have it: ${devices}; archived ones: ${archivedDevices}. ` +
      "Give them another credential, or none.",
  );
}

async function addVersion(
  tx: Transaction<Database>,
  keyRing: KeyRing,
  { id, version, secrets }: { id: CredentialId; version: number; secrets: CredentialSecrets },
): Promise<void> {
  const envelope = await sealSecrets(keyRing, { credentialId: id, version, secrets });
  await store.insertVersion(tx, {
    credentialId: id,
    version,
    ...envelope,
    hasPassword: secrets.password !== undefined,
    hasPrivateKey: secrets.privateKey !== undefined,
    hasEnableSecret: secrets.enableSecret !== undefined,
  });
}

async function readCredential(db: Kysely<Database>, scope: Scope, credentialId: CredentialId) {
  const [row] = await store.selectCredentials(db, { scope, credentialId, limit: 1 });
  if (!row) throw new ProblemError("not-found", "There is no such credential.");
  return row;
}

function credentialOf(row: store.CredentialRow) {
  return { ...row, createdAt: row.createdAt.toString(), updatedAt: row.updatedAt.toString() };
}

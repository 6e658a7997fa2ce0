import type { Kysely, Transaction } from "kysely";
import {
  createCredential,
  createLocalCredential,
  type CredentialKind,
  deleteCredential,
  getCredential,
  listCredentials,
  updateCredential,
} from "@rookery/shared/api/credentials.ts";
import { CredentialId } from "@rookery/shared/ids.ts";
import { ProblemError, refusedField } from "@rookery/shared/problem.ts";
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
import { chooseTenant } from "../tenants/store.ts";
import { credentialOf, readCredential } from "./read_credential.ts";
import * as store from "./store.ts";
import { type CredentialSecrets, openSecrets, sealSecrets } from "./vault.ts";

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

  route(app, createLocalCredential, async ({ body }, context) => {
    const id = newId<CredentialId>();
    const { name, localName, tenantId: wanted } = body;
    await refuseDuplicates(DUPLICATES, () =>
      inTransaction(db, async (tx) => {
        const tenantId = await chooseTenant(tx, { scope: context.scope, tenantId: wanted });
        const local = { kind: "agent_local", localName, username: "" } as const;
        await store.insertCredential(tx, { id, tenantId, name, ...local });
        // Nothing is sealed, and yet it is a version like any other: the ramp and the ledger go by versions.
        await addVersion(tx, keyRing, { id, version: 1, secrets: {} });
        const entry = { action: "credential.create", target: { kind: "credential", id } };
        const detail = { name, localName, kind: local.kind };
        await writeAudit(tx, { ...entry, actor: actorOf(context), detail });
      }));
    return credentialOf(await readCredential(db, context.scope, id));
  });

  route(app, updateCredential, async ({ params: { credentialId: id }, body }, context) => {
    await readCredential(db, context.scope, id);
    const { name, username, localName, ...rest } = body;
    const secrets: CredentialSecrets = given(rest);
    const names = given({ name, username, localName });
    await refuseDuplicates(DUPLICATES, () =>
      inTransaction(db, async (tx) => {
        const version = await changeSecrets(tx, keyRing, { id, username, localName, secrets });
        await store.updateCredential(tx, id, { ...names, currentVersion: version });
        const entry = { action: "credential.update", target: { kind: "credential", id } };
        const detail = { ...names, given: Object.keys(secrets), version };
        await writeAudit(tx, { ...entry, actor: actorOf(context), detail });
      }));
    return credentialOf(await readCredential(db, context.scope, id));
  });

  route(app, deleteCredential, async ({ params: { credentialId: id } }, context) => {
    await readCredential(db, context.scope, id);
    // Also of sites that this caller may not see: the credential is theirs as well.
    refuseUsed(await store.countDevices(db, id));
    await refuseDuplicates({}, () =>
      inTransaction(db, async (tx) => {
        await store.deleteCredential(tx, id);
        const entry = { action: "credential.delete", target: { kind: "credential", id } };
        await writeAudit(tx, { ...entry, actor: actorOf(context) });
      }));
  });
}

function refuseUsed(
  { devices, archivedDevices }: Awaited<ReturnType<typeof store.countDevices>>,
): void {
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

/** New secrets, another user name or another local name: the ramp starts anew, with a version of its own. */
async function changeSecrets(
  tx: Transaction<Database>,
  keyRing: KeyRing,
  { id, username, localName, secrets }: {
    id: CredentialId;
    username: string | undefined;
    localName: string | undefined;
    secrets: CredentialSecrets;
  },
): Promise<number> {
  const before = await store.lockCredential(tx, id);
  refuseOtherKind(before.kind, { username, localName, secrets });
  const isRotated = Object.keys(secrets).length > 0;
  const isRenamed = username !== undefined && username !== before.username ||
    localName !== undefined && localName !== before.localName;
  if (!isRotated && !isRenamed) return before.currentVersion;
  const version = before.currentVersion + 1;
  const kept = isRotated ? secrets : await readSecrets(tx, keyRing, { id, ...before });
  await addVersion(tx, keyRing, { id, version, secrets: kept });
  return version;
}

function refuseOtherKind(
  kind: CredentialKind,
  change: { username: string | undefined; localName: string | undefined; secrets: object },
): void {
  const [field] = kind === "agent_local"
    ? [...Object.keys(change.secrets), ...(change.username === undefined ? [] : ["username"])]
    : change.localName === undefined
    ? []
    : ["localName"];
  if (field === undefined) return;
  const detail = kind === "agent_local"
    ? "the agents hold this credential: change it in their local_credentials.json"
    : "only an agent_local credential has one";
  throw refusedField(`#/${field}`, detail);
}

async function readSecrets(
  tx: Transaction<Database>,
  keyRing: KeyRing,
  { id, currentVersion: version }: { id: CredentialId; currentVersion: number },
): Promise<CredentialSecrets> {
  const envelope = await tx.selectFrom("credentialVersions")
    .select(["kekId", "wrappedKey", "nonce", "ciphertext"])
    .where("credentialId", "=", id).where("version", "=", version).executeTakeFirstOrThrow();
  return await openSecrets(keyRing, { credentialId: id, version, envelope });
}

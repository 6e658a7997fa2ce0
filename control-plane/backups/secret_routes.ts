import type { Kysely } from "kysely";
import { downloadExactRevision, takeRestoreMaterial } from "@rookery/shared/api/backups.ts";
import { type Actor, actorOf, writeAudit } from "../audit/store.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import type { App } from "../http/app_type.ts";
import { route } from "../http/route.ts";
import { nameReply } from "./name_reply.ts";
import { readDevice, readRevision } from "./read_visible.ts";
import { readExact } from "./render_text.ts";
import { revisionOf } from "./replies.ts";
import { fileNameOf } from "./revision_names.ts";
import type { BackupsContext } from "./routes.ts";
import type { RevisionRow } from "./store.ts";
import { driverOf } from "./text_work.ts";

/** Configurations with the secrets in them, behind their own permission. */
export function mountSecrets(app: App, { db, keyRing, texts }: BackupsContext): void {
  route(app, downloadExactRevision, async ({ params: { revisionId } }, context) => {
    const revision = await readRevision(db, { scope: context.scope, revisionId });
    const { siteId, sha256 } = revision;
    const bytes = await readExact(db, { keyRing, siteId, rawSha256: sha256 });
    await noteTaken(db, { actor: actorOf(context), action: "revision.download_exact", revision });
    const digest = Uint8Array.fromHex(sha256).toBase64();
    await nameReply(db, { context, revision, as: "attachment", suffix: ".cfg" });
    context.setHeader("repr-digest", `sha-256=:${digest}:`);
    return bytes;
  });

  route(app, takeRestoreMaterial, async ({ params: { revisionId } }, context) => {
    const { scope } = context;
    const revision = await readRevision(db, { scope, revisionId });
    const { siteId, platform, capture, sha256 } = revision;
    const { restore: procedure } = driverOf(platform);
    const { id, name, host, port } = await readDevice(db, { scope, deviceId: revision.deviceId });
    const bytes = await readExact(db, { keyRing, siteId, rawSha256: sha256 });
    const restorable = await texts.run("restore", { bytes, platform, capture });
    await noteTaken(db, { actor: actorOf(context), action: "revision.restore_material", revision });
    const fileName = `${fileNameOf({ device: name, revision })}.cfg`;
    const device = { id, name, host, port };
    return { revision: revisionOf(revision), device, procedure, fileName, ...restorable };
  });
}

/** Written before a byte leaves: nobody gets the secrets unseen. */
async function noteTaken(
  db: Kysely<Database>,
  { actor, action, revision }: {
    readonly actor: Actor;
    readonly action: string;
    readonly revision: RevisionRow;
  },
): Promise<void> {
  const { id, siteId, deviceId, capture, number, sha256 } = revision;
  const target = { kind: "revision", id };
  const detail = { deviceId, capture, number, sha256 };
  await inTransaction(db, (tx) => writeAudit(tx, { actor, action, target, siteId, detail }));
}

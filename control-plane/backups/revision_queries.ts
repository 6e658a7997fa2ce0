import { type Kysely, sql } from "kysely";
import type { Grade } from "@rookery/shared/drivers/driver.ts";
import type { DeviceId, RevisionId, Sha256, SiteId } from "@rookery/shared/ids.ts";
import type { Database } from "../database/schema.ts";

/** One capture of one device. */
export interface CaptureOf {
  readonly deviceId: DeviceId;
  readonly capture: string;
}

/** A stored revision as the decision about a new one needs it. */
export interface KnownRevision extends CaptureOf {
  readonly id: RevisionId;
  readonly siteId: SiteId;
  readonly platform: string;
  readonly state: "accepted" | "quarantined" | "rejected";
  readonly rawSha256: Sha256;
  readonly normalisedSha256: Sha256;
  readonly grade: Grade;
  readonly bytes: number;
  readonly lines: number;
  readonly lastSeenAt: Temporal.Instant;
  readonly decidedAt: Temporal.Instant | null;
}

function selectKnown(db: Kysely<Database>) {
  return db.selectFrom("revisions").select([
    "revisions.id",
    "revisions.siteId",
    "revisions.deviceId",
    "revisions.capture",
    "revisions.platform",
    "revisions.state",
    "revisions.grade",
    "revisions.bytes",
    "revisions.lines",
    "revisions.lastSeenAt",
    "revisions.decidedAt",
    sql<Sha256>`revisions.raw_sha256`.as("rawSha256"),
    sql<Sha256>`revisions.normalised_sha256`.as("normalisedSha256"),
  ]);
}

/** The accepted revision that the device was seen with last. */
export async function findCurrent(
  db: Kysely<Database>,
  { deviceId, capture }: CaptureOf,
): Promise<KnownRevision | undefined> {
  return await selectKnown(db).innerJoin("currentTexts", "currentTexts.revisionId", "revisions.id")
    .where("currentTexts.deviceId", "=", deviceId).where("currentTexts.capture", "=", capture)
    .executeTakeFirst();
}

/** The revision with this normalised digest that a person accepted, else the newest one, whatever its state. */
export async function findDigest(
  db: Kysely<Database>,
  { deviceId, capture, normalisedSha256 }: CaptureOf & { readonly normalisedSha256: Sha256 },
): Promise<KnownRevision | undefined> {
  return await selectKnown(db)
    .where("revisions.deviceId", "=", deviceId).where("revisions.capture", "=", capture)
    .where("normalisedSha256", "=", normalisedSha256)
    .orderBy(sql`(state = 'accepted' and decided_at is not null)`, "desc")
    .orderBy("revisions.number", "desc").limit(1).executeTakeFirst();
}

/** The newest accepted revision with this normalised digest. */
export async function findAcceptedDigest(
  db: Kysely<Database>,
  { deviceId, capture, normalisedSha256 }: CaptureOf & { readonly normalisedSha256: Sha256 },
): Promise<KnownRevision | undefined> {
  return await selectKnown(db)
    .where("revisions.deviceId", "=", deviceId).where("revisions.capture", "=", capture)
    .where("normalisedSha256", "=", normalisedSha256).where("state", "=", "accepted")
    .orderBy("revisions.number", "desc").limit(1).executeTakeFirst();
}

import type { Kysely } from "kysely";
import type { DeviceId, Sha256, SiteId } from "@rookery/shared/ids.ts";
import type { Database } from "../database/schema.ts";
import type { KeyRing } from "../keys/key_ring.ts";
import { readBlob } from "./blob_store.ts";
import type { Texts } from "./texts.ts";

/** What it takes to read what is sealed and to show it. */
export interface TextServices {
  readonly keyRing: KeyRing;
  readonly texts: Texts;
}

/** Which text, and by whose rules it is redacted. */
export interface TextSource {
  readonly siteId: SiteId;
  readonly deviceId: DeviceId;
  readonly platform: string;
  readonly capture: string;
  readonly rawSha256: Sha256;
}

/** The exact bytes of a revision; throws when they are gone, which retention must never do. */
export async function readExact(
  db: Kysely<Database>,
  { keyRing, siteId, rawSha256 }: Pick<TextSource, "siteId" | "rawSha256"> & {
    readonly keyRing: KeyRing;
  },
): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = await readBlob(db, { keyRing, siteId, sha256: rawSha256 });
  if (!bytes) throw new Error(`Cannot read blob ${rawSha256}: the site has none of that digest`);
  return bytes;
}

/** The redacted text of stored bytes, by today's rules of the platform it was read from. */
export async function renderText(
  db: Kysely<Database>,
  source: TextSource & TextServices,
): Promise<string> {
  return await redactBytes(await readExact(db, source), source);
}

/** Redacts exact bytes; equal secrets of one device get equal tags, those of two devices do not. */
export async function redactBytes(
  bytes: Uint8Array,
  { keyRing, texts, deviceId, platform, capture }:
    & TextServices
    & Pick<TextSource, "deviceId" | "platform" | "capture">,
): Promise<string> {
  const key = await tagKey(keyRing, deviceId);
  return await texts.run("redact", { bytes, platform, capture, key });
}

/** Under which the secrets of a device are tagged. */
export function tagKey(keyRing: KeyRing, deviceId: DeviceId): Promise<Uint8Array> {
  return keyRing.deriveKey("secret-tag", deviceId);
}

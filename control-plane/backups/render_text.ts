import { createHmac } from "node:crypto";
import type { Kysely } from "kysely";
import { decodeText } from "@rookery/shared/drivers/decode.ts";
import type { Driver } from "@rookery/shared/drivers/driver.ts";
import { findDriver } from "@rookery/shared/drivers/mod.ts";
import { redact } from "@rookery/shared/drivers/redact.ts";
import type { DeviceId, Sha256, SiteId } from "@rookery/shared/ids.ts";
import type { Database } from "../database/schema.ts";
import type { KeyRing } from "../keys/key_ring.ts";
import { readBlob } from "./blob_store.ts";

/** Which text, and by whose rules it is redacted. */
export interface TextSource {
  readonly siteId: SiteId;
  readonly deviceId: DeviceId;
  readonly platform: string;
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
  { keyRing, ...source }: TextSource & { readonly keyRing: KeyRing },
): Promise<string> {
  const bytes = await readExact(db, { keyRing, ...source });
  const { deviceId } = source;
  return await redactBytes(bytes, { keyRing, deviceId, driver: driverOf(source.platform) });
}

/** Redacts exact bytes; equal secrets of one device get equal tags, those of two devices do not. */
export async function redactBytes(
  bytes: Uint8Array,
  { keyRing, deviceId, driver }: {
    readonly keyRing: KeyRing;
    readonly deviceId: DeviceId;
    readonly driver: Driver;
  },
): Promise<string> {
  const key = await keyRing.deriveKey("secret-tag", deviceId);
  return await redact(driver, decodeText(bytes).text, { tagOf: (secret) => tagOf(key, secret) });
}

/** Without its driver's rules a text cannot be redacted, so it is not shown at all. */
export function driverOf(platform: string): Driver {
  const driver = findDriver(platform);
  if (!driver) throw new Error(`Cannot redact a text of platform ${platform}: it has no driver`);
  return driver;
}

const BASE32 = "abcdefghijklmnopqrstuvwxyz234567";

/**
 * 25 bits of an HMAC under the device's key: enough to show that a secret changed, too few to tell it. Without
 * the key file the tags cannot be tried against a list of passwords.
 */
function tagOf(key: Uint8Array, secret: string): string {
  const [...bytes] = createHmac("sha256", key).update(secret).digest().subarray(0, 5);
  return bytes.map((byte) => BASE32[byte % 32]).join("");
}

/** What a revision costs: to store, to read back, to show. Run: deno bench -A tests/bench/backups_bench.ts */
import { sha256 } from "@rookery/shared/canonical_json.ts";
import { findDriver } from "@rookery/shared/drivers/mod.ts";
import { type DeviceId, Sha256, type SiteId } from "@rookery/shared/ids.ts";
import { openBlob, sealBlob } from "../../control-plane/backups/blob_seal.ts";
import { diffTexts } from "../../control-plane/backups/diff.ts";
import { redactBytes } from "../../control-plane/backups/render_text.ts";
import { newId } from "../../control-plane/database/new_id.ts";
import { makeKeys } from "../../control-plane/keys/key_file.ts";
import { openKeyRing } from "../../control-plane/keys/key_ring.ts";
import { frrConfiguration } from "../support/backup_report.ts";

const keyRing = await openKeyRing(await makeKeys());
const driver = findDriver("frr");
if (!driver) throw new Error("Cannot measure: there is no driver frr");
const deviceId = newId<DeviceId>();
const siteId = newId<SiteId>();

for (const [size, interfaces] of [["25 kB", 540], ["1 MB", 20_000]] as const) {
  const text = frrConfiguration({ interfaces });
  const bytes = new TextEncoder().encode(text);
  const name = { siteId, sha256: Sha256.parse(await sha256(bytes)) };
  const sealed = await sealBlob(keyRing, { ...name, bytes });
  const changed = text.replace("description uplink 7\n", "description changed\n");

  Deno.bench(`seal ${size} (${bytes.length} bytes to ${sealed.ciphertext.length})`, async () => {
    await sealBlob(keyRing, { ...name, bytes });
  });
  Deno.bench(`open ${size}`, async () => {
    await openBlob(keyRing, { ...name, sealed });
  });
  Deno.bench(`open and redact ${size}`, async () => {
    await redactBytes(await openBlob(keyRing, { ...name, sealed }), { keyRing, deviceId, driver });
  });
  Deno.bench(`diff ${size}, one line changed`, () => {
    diffTexts(text, changed, { context: 3 });
  });
}

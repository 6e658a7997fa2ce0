/** What a revision costs: to store, to read back, to show. Run: deno bench -A tests/bench/backups_bench.ts */
import { sha256 } from "@rookery/shared/canonical_json.ts";
import { type DeviceId, Sha256, type SiteId } from "@rookery/shared/ids.ts";
import { openBlob, sealBlob } from "../../control-plane/backups/blob_seal.ts";
import { diffTexts } from "../../control-plane/backups/diff.ts";
import { tagKey } from "../../control-plane/backups/render_text.ts";
import { doTextWork } from "../../control-plane/backups/text_work.ts";
import { newId } from "../../control-plane/database/new_id.ts";
import { makeKeys } from "../../control-plane/keys/key_file.ts";
import { openKeyRing } from "../../control-plane/keys/key_ring.ts";
import { frrConfiguration } from "../support/backup_report.ts";

const keyRing = await openKeyRing(await makeKeys());
const deviceId = newId<DeviceId>();
const siteId = newId<SiteId>();
const rules = { platform: "frr", capture: "running", key: await tagKey(keyRing, deviceId) };

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
    const opened = await openBlob(keyRing, { ...name, sealed });
    await doTextWork("redact", { bytes: opened, ...rules });
  });
  Deno.bench(`diff ${size}, one line changed`, () => {
    diffTexts(text, changed, { context: 3 });
  });
}

/** Texts of 20 MB, a device's default limit, that were made to be slow; how long their thread is busy with each. */
const HOSTILE = {
  "empty lines": "\n".repeat(19_000_000),
  "short lines": "x\n".repeat(9_500_000),
  "one secret everywhere": "password a\n".repeat(1_727_272),
  "secrets everywhere": Array.from({ length: 1_000_000 }, (_, n) => `password a${n}\n`).join(""),
} as const;
const start = "Current configuration:\nfrr version 10.2\n!\n";

for (const [name, body] of Object.entries(HOSTILE)) {
  const text = { bytes: new TextEncoder().encode(`${start}${body}end\n`), ...rules };
  for (const kind of ["measure", "redact"] as const) {
    // Once is enough: it takes seconds.
    Deno.bench({ name: `${kind} 20 MB, ${name}`, n: 1, warmup: 0 }, async () => {
      await doTextWork(kind, text);
    });
  }
}

const PAIRS = [
  ["all different", lines("a"), lines("b")],
  ["empty lines against short ones", HOSTILE["empty lines"], HOSTILE["short lines"]],
  ["against nothing", "", HOSTILE["short lines"]],
] as const;
for (const [name, before, after] of PAIRS) {
  Deno.bench({ name: `diff 20 MB, ${name}`, n: 1, warmup: 0 }, () => {
    diffTexts(before, after, { context: 3 });
  });
}

function lines(salt: string): string {
  const line = (n: number) => `${salt} description of line ${n * 7_919 % 500_000}\n`;
  return Array.from({ length: 500_000 }, (_, n) => line(n)).join("");
}

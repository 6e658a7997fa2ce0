import type { Kysely } from "kysely";
import type { Database } from "../database/schema.ts";
import { writeCsv } from "../inventory/csv.ts";
import { SealError } from "../keys/envelope.ts";
import { readBlob } from "./blob_store.ts";
import type { ChosenConfiguration } from "./export_store.ts";
import { redactBytes, type TextServices } from "./render_text.ts";
import { exportNameOf } from "./revision_names.ts";
import type { ZippedFile } from "./stream_zip.ts";
import { TextTooSlowError } from "./text_thread.ts";

export interface ConfigurationExport extends TextServices {
  readonly chosen: readonly ChosenConfiguration[];
}

const COLUMNS = [
  "site",
  "device",
  "capture",
  "revision",
  "last_seen_at",
  "sha256",
  "file",
  "missing",
];

/** Each configuration, read and redacted when it is asked for, and then the index of them all. */
export async function* exportedFiles(
  db: Kysely<Database>,
  order: ConfigurationExport,
): AsyncGenerator<ZippedFile> {
  const taken = new Set<string>();
  const index: string[][] = [COLUMNS];
  for (const { revision, ...of } of order.chosen) {
    if (!revision) {
      index.push([of.site, of.device, "", "", "", "", "", "there is no configuration yet"]);
      continue;
    }
    const read = await readText(db, { ...order, ...of, revision });
    const name = "text" in read ? freeName({ ...of, revision }, taken) : "";
    const { capture, number, lastSeenAt, sha256 } = revision;
    const about = [of.site, of.device, capture, String(number), lastSeenAt, sha256];
    index.push([...about, name, "missing" in read ? read.missing : ""]);
    if ("text" in read) yield fileOf(name, read.text, Temporal.Instant.from(lastSeenAt));
  }
  yield fileOf("index.csv", writeCsv(index), Temporal.Now.instant());
}

type Current = ChosenConfiguration & { readonly revision: object };

/** What is damaged does not spoil the rest, and is not passed over in silence; the database's own errors end it all. */
async function readText(
  db: Kysely<Database>,
  { keyRing, texts, siteId, deviceId, revision }: TextServices & Current,
): Promise<{ readonly text: string } | { readonly missing: string }> {
  try {
    const bytes = await readBlob(db, { keyRing, siteId, sha256: revision.sha256 });
    if (!bytes) return { missing: "it is gone from the database" };
    return { text: await redactBytes(bytes, { keyRing, texts, deviceId, ...revision }) };
  } catch (error) {
    if (error instanceof SealError) return { missing: "it is altered, or its key is lost" };
    if (error instanceof TextTooSlowError) return { missing: "it takes too long to read" };
    throw error;
  }
}

/** Names are made safe, and two that differ may become one. */
function freeName({ deviceId, ...named }: Current, taken: Set<string>): string {
  const plain = exportNameOf(named);
  const name = taken.has(plain) ? plain.replace(/(?=\.masked\.cfg$)/, `-${deviceId}`) : plain;
  taken.add(name);
  return name;
}

function fileOf(name: string, text: string, modifiedAt: Temporal.Instant): ZippedFile {
  return { name, modifiedAt, bytes: new TextEncoder().encode(text) };
}

import type { Kysely } from "kysely";
import type { Database } from "../database/schema.ts";
import { SealError } from "../keys/envelope.ts";
import { readBlob } from "./blob_store.ts";
import { redactionRules } from "./redaction_rules.ts";
import { redactBytes, type TextServices, type TextSource } from "./render_text.ts";
import { TextTooSlowError } from "./text_thread.ts";

/**
 * The redacted text of a revision; undefined when it is missing, altered or sealed under a lost key, when it takes too long, or when
 * its platform has no driver any more. For who goes through many: one does not spoil the rest. The database's own errors do.
 */
export async function tryRender(
  db: Kysely<Database>,
  source: TextSource & TextServices,
): Promise<string | undefined> {
  const { keyRing, siteId, platform, rawSha256: sha256 } = source;
  if (redactionRules(platform) === null) return undefined;
  try {
    const bytes = await readBlob(db, { keyRing, siteId, sha256 });
    return bytes && await redactBytes(bytes, source);
  } catch (error) {
    if (error instanceof SealError || error instanceof TextTooSlowError) return undefined;
    throw error;
  }
}

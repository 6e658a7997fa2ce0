/** Writing the key file: whole, flushed and for its owner alone, or not at all. */
import { dirname } from "node:path";
import type { KeyFile } from "./key_file_schema.ts";

/** Writes the content beside `path` and flushes it; returns the draft's name. */
export async function writeDraft(path: string, content: KeyFile): Promise<string> {
  const draft = `${path}.${crypto.randomUUID()}.new`;
  try {
    const text = `${JSON.stringify(content, undefined, 2)}\n`;
    await Deno.writeTextFile(draft, text, { createNew: true, mode: 0o600 });
    await flush(draft);
    return draft;
  } catch (error) {
    await Deno.remove(draft).catch(() => {});
    throw error;
  }
}

/**
 * Puts new content in the place of the old in one step: whoever reads meanwhile sees either. The owner stays the same, so
 * that a root who rotates keys does not lock out the service; a symbolic link stays one.
 */
export async function replaceKeyFile(path: string, content: KeyFile): Promise<void> {
  const target = await Deno.realPath(path);
  const draft = await writeDraft(target, content);
  try {
    await keepOwner(target, draft);
    await Deno.rename(draft, target);
  } catch (error) {
    await Deno.remove(draft).catch(() => {});
    throw error;
  }
  await flushFolder(target);
}

async function keepOwner(target: string, draft: string): Promise<void> {
  const [old, made] = [await Deno.stat(target), await Deno.stat(draft)];
  if (old.uid !== made.uid || old.gid !== made.gid) await Deno.chown(draft, old.uid, old.gid);
}

/** A folder is flushed too: else a power cut may take the name of a file whose content is safe. */
export async function flushFolder(path: string): Promise<void> {
  await flush(dirname(path));
}

async function flush(path: string): Promise<void> {
  using file = await Deno.open(path, { read: true });
  await file.sync();
}

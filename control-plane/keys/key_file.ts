/**
 * The key file (`ROOKERY_KEYS`): every key that the control plane owns. It lies outside the database, so that
 * neither a copy of the database nor one of the key file alone opens anything. All replicas read the same file.
 */
import { dirname } from "node:path";
import { KeyFile } from "./key_file_schema.ts";
import { makeKeys } from "./make_keys.ts";
import { flushFolder, writeDraft } from "./write_key_file.ts";

export type { KeyFile };
export { makeKeys };

/** The key file is missing, unreadable, too open, damaged, or not the one of this installation. */
export class KeyFileError extends Error {
  override readonly name = "KeyFileError";
}

/** Reads the key file, or makes it when there is none; throws a KeyFileError that says what to do. */
export async function readOrCreateKeyFile(path: string): Promise<KeyFile> {
  return await readKeyFile(path) ?? await createKeyFile(path);
}

/** Reads the key file of an installation that has one; throws a KeyFileError that says what to do when it is missing. */
export async function readExistingKeyFile(path: string): Promise<KeyFile> {
  const found = await readKeyFile(path);
  if (found) return found;
  throw new KeyFileError(
    `Cannot find the key file ${path}, and this database was written with its keys. ` +
      "Restore it from your backup of it, or correct ROOKERY_KEYS.",
  );
}

async function readKeyFile(path: string): Promise<KeyFile | undefined> {
  const text = await readPrivateFile(path);
  if (text === undefined) return undefined;
  const parsed = KeyFile.safeParse(parseJson(text));
  if (parsed.success) return parsed.data;
  // Names the fields and never their values; the cause is left out for the same reason.
  const where = parsed.error.issues.map((issue) => `${issue.path.join(".") || "(whole)"}`).join(
    ", ",
  );
  throw new KeyFileError(
    `Cannot use the key file ${path}: it is damaged at ${where}. Restore it from your backup of it.`,
  );
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Checks the open file and not its name, so that nobody can swap it between the check and the reading. */
async function readPrivateFile(path: string): Promise<string | undefined> {
  try {
    using file = await Deno.open(path, { read: true });
    const { isFile, mode } = await file.stat();
    if (!isFile) throw new KeyFileError(`Cannot use the key file ${path}: it is no file.`);
    if (mode !== null && (mode & 0o077) !== 0) {
      throw new KeyFileError(
        `Refused the key file ${path}: others may read or write it. Run: chmod 600 ${path}`,
      );
    }
    return await new Response(file.readable).text();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    if (error instanceof KeyFileError) throw error;
    throw new KeyFileError(`Cannot read the key file ${path}`, { cause: error });
  }
}

/**
 * Written whole and flushed under another name, then linked: a crash leaves no half file, and of two replicas
 * that start at once one makes it and the other reads that one.
 */
async function createKeyFile(path: string): Promise<KeyFile> {
  const content = await makeKeys();
  let draft: string | undefined;
  try {
    await Deno.mkdir(dirname(path), { recursive: true, mode: 0o700 });
    draft = await writeDraft(path, content);
    await Deno.link(draft, path);
    await flushFolder(path);
    return content;
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) {
      throw new KeyFileError(`Cannot make the key file ${path}`, { cause: error });
    }
  } finally {
    if (draft !== undefined) await Deno.remove(draft).catch(() => {});
  }
  const other = await readKeyFile(path);
  if (!other) throw new KeyFileError(`Cannot read the key file ${path}: it vanished.`);
  return other;
}

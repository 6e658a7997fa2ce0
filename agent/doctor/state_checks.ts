import { statfs } from "node:fs/promises";
import { join } from "node:path";
import { errorText } from "../log.ts";
import { readCaFile } from "../network_settings.ts";
import { type AgentSettings, readSettings, SettingsError } from "../settings.ts";
import { type AgentIdentity, StateFolder } from "../state_folder.ts";
import { failed, type Finding, ok, took, warning } from "./finding.ts";

/** What the spool and the agent's own files want at least. */
const LOW_BYTES = 512 * 1024 * 1024;
const TRIAL_BYTES = 8 * 1024 * 1024;
const SLOW_SYNC_MS = 2_000;

/** Mode, owner, and the files in it that hold keys. */
export async function checkFolder(path: string): Promise<Finding> {
  const check = "state folder";
  try {
    const { isDirectory } = await Deno.stat(path);
    if (!isDirectory) return failed(check, `${path} is no folder`, "Name a folder with --state.");
  } catch (error) {
    const remedy = error instanceof Deno.errors.NotFound
      ? `Make it: install -d -m 700 "${path}", as the user that the agent runs as.`
      : `Start with --allow-read=${path} --allow-write=${path}, as the user that owns it.`;
    return failed(check, errorText(error), remedy);
  }
  try {
    const state = await StateFolder.open(path);
    const open = await openFiles(path);
    if (open.length > 0) {
      return failed(check, `others may read ${open.join(", ")}`, `chmod 600 "${path}"/*.json`);
    }
    return await state.ownUid() === 0
      ? warning(check, `${path}, mode 700, of root`, "Run the agent as a user of its own.")
      : ok(check, `${path}, mode 700, ours`);
  } catch (error) {
    const [seen = "", ...remedy] = errorText(error).split(/(?<=: others can enter it|\d)\. /);
    return failed(
      check,
      seen,
      remedy.join(". ") || "Give the folder to the agent's user, mode 700.",
    );
  }
}

/** Files of ours that are not for us alone. */
async function openFiles(path: string): Promise<string[]> {
  const open: string[] = [];
  for await (const { name, isFile } of Deno.readDir(path)) {
    if (!isFile || !name.endsWith(".json") || name === "settings.json") continue;
    const { mode } = await Deno.stat(join(path, name));
    if (mode !== null && (mode & 0o077) !== 0) open.push(name);
  }
  return open;
}

/** That what is written is there after a power cut, and how much room is left. */
export async function checkDisk(path: string): Promise<Finding> {
  const check = "disk";
  const startedAt = performance.now();
  try {
    await writeTrial(join(path, `doctor-${crypto.randomUUID()}.tmp`));
  } catch (error) {
    return failed(check, errorText(error), "Free space, or make the file system writable.");
  }
  const ms = performance.now() - startedAt;
  const written = `${TRIAL_BYTES / 1024 / 1024} MiB written and fsynced in ${took(startedAt)}`;
  if (ms > SLOW_SYNC_MS) {
    return warning(check, written, "Results wait for this disk: give the agent a faster one.");
  }
  const free = await freeBytes(path);
  if (free === undefined) return ok(check, `${written}; df "${path}" tells how much is free`);
  const seen = `${written}, ${Math.floor(free / 1024 / 1024)} MiB free`;
  return free < LOW_BYTES
    ? warning(check, seen, "Free space: the spool needs it.")
    : ok(check, seen);
}

async function writeTrial(path: string): Promise<void> {
  try {
    using file = await Deno.open(path, { write: true, createNew: true, mode: 0o600 });
    const bytes = crypto.getRandomValues(new Uint8Array(64 * 1024));
    for (let left = TRIAL_BYTES; left > 0;) left -= await file.write(bytes);
    await file.sync();
  } finally {
    await Deno.remove(path).catch(() => {});
  }
}

/** Deno tells it only to programs with --allow-sys=statfs, which the agent does without. */
async function freeBytes(path: string): Promise<number | undefined> {
  try {
    const { bavail, bsize } = await statfs(path);
    return bavail * bsize;
  } catch {
    return undefined;
  }
}

/** The settings, when they can be used. */
export async function checkSettings(
  path: string,
): Promise<{ finding: Finding; settings?: AgentSettings }> {
  const check = "settings";
  try {
    const settings = await readSettings(path);
    const { caFile } = settings;
    if (caFile === undefined) return { finding: ok(check, "read"), settings };
    const certificates = await readCaFile(path, caFile);
    return { finding: ok(check, `read, with ${certificates.length} CA certificates`), settings };
  } catch (error) {
    const what = error instanceof SettingsError ? "settings.json" : "the file";
    return { finding: failed(check, errorText(error), `Mend ${what} as it says.`) };
  }
}

/** Who the agent is, when it is enrolled. */
export async function checkEnrolment(
  path: string,
): Promise<{ finding: Finding; identity?: AgentIdentity }> {
  const check = "enrolment";
  try {
    const identity = await StateFolder.read(path).readIdentity();
    return identity
      ? { finding: ok(check, `${identity.name} (${identity.agentId})`), identity }
      : { finding: failed(check, "not enrolled", "Run enroll with a join token.") };
  } catch (error) {
    const remedy = "Restore the file, or empty the folder and enrol again.";
    return { finding: failed(check, errorText(error), remedy) };
  }
}

import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";
import { ControlPlaneJwk, SealJwk, SignJwk } from "@rookery/shared/api/agent_protocol.ts";
import { AgentId, SiteId } from "@rookery/shared/ids.ts";

/** What an agent knows about itself and about the control plane it joined; contains its private keys. */
export const AgentIdentity = z.strictObject({
  version: z.literal(1),
  controlPlaneUrl: z.url(),
  agentId: AgentId,
  name: z.string(),
  issuer: z.string(),
  incarnation: z.int().min(1),
  siteIds: z.array(SiteId),
  signingKeys: z.array(ControlPlaneJwk).min(1),
  sealingKey: z.strictObject({ ...SealJwk.shape, kid: z.string() }),
  signKey: z.strictObject({ ...SignJwk.shape, d: z.string() }),
  sealKey: z.strictObject({ ...SealJwk.shape, d: z.string() }),
});
export type AgentIdentity = z.infer<typeof AgentIdentity>;

/** Keys made before enrolment, kept so that a lost reply is retried with the same ones. */
export const PendingKeys = AgentIdentity.pick({ signKey: true, sealKey: true });
export type PendingKeys = z.infer<typeof PendingKeys>;

/** What the agent has learnt of the control plane's keys since it was enrolled; see `TrustRoot`. */
export const LearntTrust = z.strictObject({
  version: z.literal(1),
  /** Where it began: what an earlier enrolment led to is worth nothing. */
  issuer: z.string(),
  pinnedKid: z.string(),
  signingKeys: z.array(ControlPlaneJwk).min(1),
  sealingKey: z.strictObject({ ...SealJwk.shape, kid: z.string() }),
  sealingSequence: z.int().min(0),
});
export type LearntTrust = z.infer<typeof LearntTrust>;

const Sequence = z.strictObject({ sequence: z.int().min(0) });

const LOCK_TRIES = 5;
const LOCK_RETRY_MS = 100;

/** The state folder cannot be used; the message says what to do. */
export class StateFolderError extends Error {
  override name = "StateFolderError";
}

/** The agent's folder on disk: mode 0700, every file 0600, written whole and fsynced or not at all. */
export class StateFolder {
  readonly path: string;
  #updating: Promise<void> = Promise.resolve();

  private constructor(path: string) {
    this.path = path;
  }

  /** Opens the folder, making it when it is missing; refuses one that others can enter or that is not ours. */
  static async open(path: string): Promise<StateFolder> {
    const { mode, uid } = await makeFolder(path);
    if (mode !== null && (mode & 0o077) !== 0) {
      throw new StateFolderError(
        `Cannot use the state folder ${path}: others can enter it. Run: chmod 700 "${path}"`,
      );
    }
    const own = await ownUid(path);
    if (uid !== null && own !== null && uid !== own) {
      throw new StateFolderError(
        `Cannot use the state folder ${path}: it belongs to user ${uid}, and this is user ${own}. ` +
          `Run the agent as that user, or: chown -R ${own} "${path}"`,
      );
    }
    return new StateFolder(path);
  }

  /** Reads a folder that an agent of whatever user runs from; nothing is made in it. */
  static read(path: string): StateFolder {
    return new StateFolder(path);
  }

  /** Which user this process is; null where the system knows none. */
  ownUid(): Promise<number | null> {
    return ownUid(this.path);
  }

  /** Whether an agent runs from the folder. */
  async isLocked(): Promise<boolean> {
    const file = await Deno.open(join(this.path, "lock"), { read: true }).catch(ignoreMissing);
    if (!file) return false;
    using lock = file;
    // Shared: two who ask at once do not take each other for the agent.
    return !await lock.tryLock(false);
  }

  /**
   * Keeps every other process out of the folder until this one ends: two agents of one identity would take the
   * session from each other for ever.
   */
  async lock(): Promise<Disposable> {
    const file = await Deno.open(join(this.path, "lock"), {
      write: true,
      create: true,
      mode: 0o600,
    });
    // Who asks for the status holds the lock for a moment, too.
    for (let tries = 0; tries < LOCK_TRIES; tries++) {
      if (tries > 0) await delay(LOCK_RETRY_MS);
      if (await file.tryLock(true)) return file;
    }
    file.close();
    throw new StateFolderError(
      `Cannot run from the state folder ${this.path}: another agent runs from it. Stop that one first.`,
    );
  }

  readIdentity(): Promise<AgentIdentity | undefined> {
    return this.#read("identity.json", AgentIdentity);
  }

  async writeIdentity(identity: AgentIdentity): Promise<void> {
    await this.#write("identity.json", AgentIdentity.parse(identity));
    await Deno.remove(join(this.path, "pending_keys.json")).catch(ignoreMissing);
  }

  readPendingKeys(): Promise<PendingKeys | undefined> {
    return this.#read("pending_keys.json", PendingKeys);
  }

  writePendingKeys(keys: PendingKeys): Promise<void> {
    return this.#write("pending_keys.json", keys);
  }

  readTrust(): Promise<LearntTrust | undefined> {
    return this.#read("trust.json", LearntTrust);
  }

  writeTrust(trust: LearntTrust): Promise<void> {
    return this.#write("trust.json", trust);
  }

  /** Keys of a rotation that began; on disk before they are sent. */
  readNextKeys(): Promise<PendingKeys | undefined> {
    return this.#read("next_keys.json", PendingKeys);
  }

  writeNextKeys({ signKey, sealKey }: PendingKeys): Promise<void> {
    return this.#write("next_keys.json", { signKey, sealKey });
  }

  async removeNextKeys(): Promise<void> {
    await Deno.remove(join(this.path, "next_keys.json")).catch(ignoreMissing);
  }

  /** Every key pair that the agent may be known by. */
  async readAllKeys(): Promise<
    {
      next: PendingKeys | undefined;
      current: PendingKeys | undefined;
      former: PendingKeys | undefined;
    }
  > {
    const [next, current, former] = await Promise.all([
      this.readNextKeys(),
      this.readIdentity(),
      this.#read("former_keys.json", PendingKeys),
    ]);
    // The same twice: the process was killed after it had adopted them.
    return { next: next?.signKey.x === current?.signKey.x ? undefined : next, current, former };
  }

  /** Makes keys the agent's own; the former ones stay, for a control plane that is restored from a backup. */
  async adoptKeys({ signKey, sealKey }: PendingKeys): Promise<void> {
    await this.updateIdentity(async (identity) => {
      const former = { signKey: identity.signKey, sealKey: identity.sealKey };
      await this.#write("former_keys.json", former);
      return { ...identity, signKey, sealKey };
    });
    await this.removeNextKeys();
  }

  /** Changes what is stored of the identity; two changes at once come one after the other. */
  updateIdentity(
    change: (identity: AgentIdentity) => AgentIdentity | Promise<AgentIdentity>,
  ): Promise<void> {
    const updated = this.#updating.then(async () => {
      const identity = await this.readIdentity();
      if (identity) await this.#write("identity.json", AgentIdentity.parse(await change(identity)));
    });
    this.#updating = updated.catch(() => {});
    return updated;
  }

  /** Raises and stores the boot counter: two boots never share a number, also after a power cut. */
  async nextSequence(): Promise<number> {
    const stored = await this.#read("sequence.json", Sequence);
    const sequence = (stored?.sequence ?? 0) + 1;
    await this.#write("sequence.json", { sequence });
    return sequence;
  }

  async #read<Schema extends z.ZodType>(
    name: string,
    schema: Schema,
  ): Promise<z.infer<Schema> | undefined> {
    const text = await Deno.readTextFile(join(this.path, name)).catch(ignoreMissing)
      .catch((cause: unknown) => {
        const why = remedyFor(cause, this.path);
        throw new StateFolderError(`Cannot read ${name} in ${this.path}: ${why}`);
      });
    if (text === undefined) return undefined;
    const parsed = schema.safeParse(parseJson(text));
    if (parsed.success) return parsed.data;
    // The file holds private keys: the issues name fields and never values.
    const fields = parsed.error.issues.map((issue) => issue.path.join(".")).join(", ");
    throw new StateFolderError(
      `Cannot read ${name} in ${this.path}: wrong at ${fields || "its root"}. ` +
        "Restore the file, or remove the folder and enrol again.",
    );
  }

  async #write(name: string, value: unknown): Promise<void> {
    const target = join(this.path, name);
    const text = `${JSON.stringify(value, null, 2)}\n`;
    try {
      await writeDurably(`${target}.new`, new TextEncoder().encode(text));
      await Deno.rename(`${target}.new`, target);
      await this.#syncFolder();
    } catch (cause) {
      const why = remedyFor(cause, this.path);
      throw new StateFolderError(`Cannot write ${name} in ${this.path}: ${why}`, { cause });
    }
  }

  /** A rename is on disk only when its folder is. */
  async #syncFolder(): Promise<void> {
    using folder = await Deno.open(this.path, { read: true });
    await folder.sync();
  }
}

async function makeFolder(path: string): Promise<Deno.FileInfo> {
  try {
    await Deno.mkdir(path, { recursive: true, mode: 0o700 });
    return await Deno.stat(path);
  } catch (cause) {
    throw new StateFolderError(`Cannot use the state folder ${path}: ${remedyFor(cause, path)}`);
  }
}

/**
 * Which user this process is. Deno tells that to programs with --allow-sys only, which an agent does not have; but a file
 * that it makes is its own.
 */
async function ownUid(folder: string): Promise<number | null> {
  const path = join(folder, `owner-${crypto.randomUUID()}.tmp`);
  try {
    using file = await Deno.open(path, { write: true, createNew: true, mode: 0o600 });
    return (await file.stat()).uid;
  } catch (cause) {
    throw new StateFolderError(
      `Cannot use the state folder ${folder}: ${remedyFor(cause, folder)}`,
    );
  } finally {
    await Deno.remove(path).catch(() => {});
  }
}

function remedyFor(error: unknown, path: string): string {
  if (error instanceof Deno.errors.NotCapable) {
    return "this process may not read and write it. `deno task agent` may use data/agent only; " +
      `another folder needs the flags --allow-read=${path} --allow-write=${path}: ` +
      `deno run --no-prompt --allow-net --allow-read=${path} --allow-write=${path} agent/main.ts …`;
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    return `it, or a file in it, belongs to another user: ls -ln "${path}" says to whom. Run the agent as that one`;
  }
  if (isDiskFull(error)) return "the disk is full. Make room, and start the agent again";
  return error instanceof Error ? error.message : String(error);
}

function isDiskFull(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOSPC";
}

/** Returns once the bytes are on disk, not only in the cache. */
async function writeDurably(path: string, bytes: Uint8Array): Promise<void> {
  using file = await Deno.open(path, { write: true, create: true, truncate: true, mode: 0o600 });
  for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
  await file.sync();
}

function ignoreMissing(error: unknown): undefined {
  if (error instanceof Deno.errors.NotFound) return undefined;
  throw error;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

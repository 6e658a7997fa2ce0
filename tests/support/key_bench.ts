/** The keys of a test's control plane in a file, as a running replica has them, and the means to rotate them. */
import { join } from "node:path";
import { loadKeyRing } from "../../control-plane/keys/key_ring.ts";
import { readExistingKeyFile } from "../../control-plane/keys/key_file.ts";
import { LiveKeyRing } from "../../control-plane/keys/live_key_ring.ts";
import { readRotateCommand } from "../../control-plane/keys/rotate_command.ts";
import { rotateKeys, type RotatePlace } from "../../control-plane/keys/rotate_steps.ts";
import { assertSameKeys } from "../../control-plane/keys/same_keys.ts";
import { KeyWatch } from "../../control-plane/keys/watch_keys.ts";
import type { TestDatabase } from "./database.ts";

/** Usable inside tests; give `makeKeyRing` to the control plane. */
export interface KeyBench {
  readonly path: string;
  readonly keyRing: LiveKeyRing;
  readonly makeKeyRing: () => Promise<LiveKeyRing>;
  /** Looks at the key file, as a replica does every two seconds. */
  readonly look: () => Promise<void>;
  /** What the replica said of its keys. */
  readonly log: readonly string[];
  /** The arguments of `keys:rotate`, so many days after today. Returns what it says. */
  rotate(args: string, options?: { readonly days?: number }): Promise<string>;
  readonly place: () => Promise<RotatePlace>;
  /** All signing keys of the file, oldest first. */
  signingKids(): Promise<readonly string[]>;
}

/** Call it at the top of a test file, after `testDatabase()`. */
export function keyBench(database: TestDatabase): KeyBench {
  let made: { folder: string; keyRing: LiveKeyRing; watch: KeyWatch } | undefined;
  const log: string[] = [];
  const get = () => made ?? fail();
  const pathIn = (folder: string) => join(folder, "keys.json");
  Deno.test.afterAll(async () => {
    if (made) await Deno.remove(made.folder, { recursive: true });
  });
  const makeKeyRing = async () => {
    const folder = await Deno.makeTempDir({ prefix: "rookery-keys-" });
    const path = pathIn(folder);
    const { db } = database;
    const keyRing = new LiveKeyRing(await loadKeyRing(path, { create: true }));
    await assertSameKeys(db, keyRing);
    const tell = ({ message, reason }: { message: string; reason?: unknown }) =>
      void log.push(`${message}: ${reason ?? ""}`);
    made = { folder, keyRing, watch: new KeyWatch({ db, keyRing, path, log: tell }) };
    return keyRing;
  };
  const place = async () => {
    const { id } = await database.db.selectFrom("installation").select("id")
      .executeTakeFirstOrThrow();
    return { db: database.db, path: pathIn(get().folder), issuer: `urn:uuid:${id}`, spreadMs: 0 };
  };
  return {
    get path() {
      return pathIn(get().folder);
    },
    get keyRing() {
      return get().keyRing;
    },
    log,
    makeKeyRing,
    look: () => get().watch.look(),
    place,
    async rotate(args, { days = 0 } = {}) {
      const command = readRotateCommand(args.split(" "));
      if (!("what" in command)) throw new TypeError("Cannot do that here");
      const now = Temporal.Now.instant().add({ hours: 24 * days });
      return await rotateKeys({ ...await place(), now }, command);
    },
    async signingKids() {
      return (await readExistingKeyFile(pathIn(get().folder))).signing.map((key) => key.kid);
    },
  };
}

function fail(): never {
  throw new Error("Cannot use the keys: they exist only while tests run");
}

import { parseArgs } from "node:util";
import { type Config, readConfig } from "../config.ts";

/** What both commands are told. */
export interface Order {
  readonly file: string;
  /** Where the sealed keys are, and what opens them. */
  readonly keys: { readonly file: string; readonly passphrase: string } | undefined;
  readonly config: Config;
}

/** Reads the command line and the environment; `use` is `to` or `from`. Throws an Error for people. */
export async function readOrder(use: "to" | "from"): Promise<Order> {
  const { values } = parseArgs({
    options: {
      [use]: { type: "string" },
      keys: { type: "string" },
      "passphrase-file": { type: "string" },
    },
  });
  const { [use]: file, keys, "passphrase-file": passphraseFile } = values;
  const task = use === "to" ? "backup" : "restore";
  const usage = `deno task ${task} --${use} FILE [--keys FILE --passphrase-file FILE]`;
  if (typeof file !== "string") throw new Error(`Cannot ${task}: name the file. ${usage}`);
  const environment = Deno.env.toObject();
  const config = readConfig(environment);
  if (typeof keys !== "string") return { file, keys: undefined, config };
  const passphrase = typeof passphraseFile === "string"
    ? (await Deno.readTextFile(passphraseFile)).replace(/\r?\n$/, "")
    : environment["ROOKERY_BACKUP_PASSPHRASE"] ?? "";
  if (passphrase === "") {
    throw new Error(
      `Cannot ${task} keys without a passphrase: --passphrase-file, or ROOKERY_BACKUP_PASSPHRASE. ${usage}`,
    );
  }
  return { file, keys: { file: keys, passphrase }, config };
}

import { parseArgs } from "node:util";

/** What the person at the console wants. */
export type RotateCommand =
  | { readonly do: "help" | "status" | "repair" }
  | { readonly do: "add" | "activate" | "rewrap"; readonly what: KeyUse; readonly force: boolean }
  | { readonly do: "retire"; readonly what: KeyUse; readonly key: string; readonly force: boolean };

export type KeyUse = "signing" | "sealing" | "kek";

/** The arguments make no sense; the message says which. */
export class RotateUsageError extends Error {
  override readonly name = "RotateUsageError";
}

export const ROTATE_USAGE = `deno task keys:rotate COMMAND

  status                   all keys, and what can be done with them
  signing                  make the next signing key; agents learn of it
  signing --activate       sign with it, 7 days later
  signing --retire KEY     erase the old one, 7 days after that
  sealing                  make a new sealing key; agents use it from now on
  sealing --retire KEY     erase an old one, 30 days later
  kek                      make a new key-encryption key, use it, and wrap all data keys anew (a task: /api/v1/tasks)
  kek --rewrap             order that task again, if it failed or was cancelled
  kek --retire KEY         forget an old one, when nothing is wrapped by it
  repair                   take the key file as it is, after the database was restored from an older backup

Before their time, signing keys are activated or retired with --break-unaware-agents: agents that have not heard of the
new key yet refuse their leases until they have, join tokens that name the old one are worth nothing, and agents too old
to learn must be enrolled again. A sealing key is retired before its time with --lose-undelivered-results.

It reads DATABASE_URL, ROOKERY_DATA and ROOKERY_KEYS as the control plane does, and works beside a running one: replicas
that share the key file use the new keys within seconds. Replicas with a copy of it sign nothing until they have the new
one. Back the key file up after every step.
`;

const FORCE = {
  signing: "break-unaware-agents",
  sealing: "lose-undelivered-results",
  kek: undefined,
} as const satisfies Record<KeyUse, string | undefined>;

/** Reads the command line; throws a RotateUsageError. */
export function readRotateCommand(args: readonly string[]): RotateCommand {
  const { values, positionals: [word = "help", ...more] } = parse(args);
  if (more.length > 0) throw new RotateUsageError(`Cannot understand "${more.join(" ")}"`);
  if (values.help || word === "help") return { do: "help" };
  const given = Object.keys(values);
  if (word === "status" || word === "repair") {
    if (given.length > 0) throw new RotateUsageError(`Cannot use --${given[0]} with ${word}`);
    return { do: word };
  }
  if (!isUse(word)) {
    throw new RotateUsageError(`Cannot rotate "${word}": name signing, sealing or kek`);
  }
  return readStep(word, values);
}

function readStep(what: KeyUse, values: ReturnType<typeof parse>["values"]): RotateCommand {
  const { activate, rewrap, retire: key } = values;
  const flag = FORCE[what];
  const force = flag !== undefined && values[flag] === true;
  const allowed = new Set<string>(["retire", ...(flag ? [flag] : [])]);
  if (what === "signing") allowed.add("activate");
  if (what === "kek") allowed.add("rewrap");
  const stray = Object.keys(values).find((name) => !allowed.has(name));
  if (stray) throw new RotateUsageError(`Cannot use --${stray} with ${what}`);
  if ([activate, rewrap, key !== undefined].filter(Boolean).length > 1) {
    throw new RotateUsageError("Cannot do two steps at once");
  }
  if (key !== undefined) return { do: "retire", what, key, force };
  if (force && !activate) {
    throw new RotateUsageError(`Cannot use --${flag} here: nothing is refused`);
  }
  return { do: activate ? "activate" : rewrap ? "rewrap" : "add", what, force };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: joinKeyIds(args),
      allowPositionals: true,
      options: {
        help: { type: "boolean", short: "h" },
        activate: { type: "boolean" },
        rewrap: { type: "boolean" },
        retire: { type: "string" },
        "break-unaware-agents": { type: "boolean" },
        "lose-undelivered-results": { type: "boolean" },
      },
    });
  } catch (error) {
    throw new RotateUsageError(error instanceof Error ? error.message : String(error));
  }
}

/** One key id in 64 begins with a dash, and would be taken for an option; no option is as long. */
function joinKeyIds(args: readonly string[]): string[] {
  const joined: string[] = [];
  for (const arg of args) {
    const isKeyId = joined.at(-1) === "--retire" && /^-[A-Za-z0-9_-]{42}$/.test(arg);
    if (isKeyId) joined.push(`${joined.pop()}=${arg}`);
    else joined.push(arg);
  }
  return joined;
}

function isUse(word: string): word is KeyUse {
  return word in FORCE;
}

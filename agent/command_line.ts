import { parseArgs } from "node:util";
import { LOG_LEVELS, type LogLevel } from "./log.ts";

export const USAGE = `rookery-agent: backs up the devices of a site for a Rookery control plane

  enroll --url URL --token TOKEN   join a control plane, once
  run                              work until SIGTERM (drains) or a second one (stops)
  status [--json]                  say who this agent is, and what the one that runs does
  doctor [--json] [--device HOST[:PORT]] [--url URL]
                                   look for what keeps the agent, or a device, from working, and
                                   say what to do; ends with 0 (all is well), 1 (warnings) or
                                   2 (something failed)

  --state DIR                      the agent's folder (default: data/agent); may hold settings.json
  --log text|json                  the log of run (default: text on a terminal, else json)
  --log-level info|warn|error      what of it (default: info)
  --allow-root                     run as root all the same
  -h, --help                       print this
`;

const COMMANDS = ["enroll", "run", "status", "doctor"] as const;
type Command = typeof COMMANDS[number];

/** What the command line asks for. */
export interface Order {
  readonly command: Command | "help";
  readonly state: string;
  readonly url: string | undefined;
  readonly token: string | undefined;
  /** `host`, `host:port` or `[address]:port`. */
  readonly device: string | undefined;
  readonly json: boolean;
  readonly log: "text" | "json" | undefined;
  readonly logLevel: LogLevel;
  readonly allowRoot: boolean;
}

/** The command line cannot be understood; the usage says how to write it. */
export class CommandLineError extends Error {
  override name = "CommandLineError";
}

/** Reads the command line; throws a CommandLineError that names what is wrong in it. */
export function readCommandLine(args: readonly string[]): Order {
  const { values, positionals: [command, ...more] } = parse(args);
  const { state, url, token, device, json } = values;
  const order = {
    ...{ state, url, token, device, json },
    log: oneOf("--log", values.log, ["text", "json"]),
    logLevel: oneOf("--log-level", values["log-level"], LOG_LEVELS) ?? "info",
    allowRoot: values["allow-root"],
  };
  if (values.help || command === "help") return { ...order, command: "help" };
  const known = COMMANDS.find((name) => name === command);
  if (known === undefined) {
    const wrong = command === undefined ? "No command is given" : `There is no command ${command}`;
    throw new CommandLineError(`${wrong}: use one of ${COMMANDS.join(", ")}`);
  }
  if (more.length > 0) throw new CommandLineError(`Cannot use ${more[0]}: one command is enough`);
  if (known === "enroll" && (order.url === undefined || order.token === undefined)) {
    throw new CommandLineError("Cannot enrol: name --url and --token");
  }
  return { ...order, command: known };
}

function oneOf<const Choice extends string>(
  flag: string,
  given: string | undefined,
  choices: readonly Choice[],
): Choice | undefined {
  if (given === undefined) return undefined;
  const found = choices.find((choice) => choice === given);
  if (found !== undefined) return found;
  throw new CommandLineError(`Cannot use ${flag} ${given}: use one of ${choices.join(", ")}`);
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        state: { type: "string", default: "data/agent" },
        url: { type: "string" },
        token: { type: "string" },
        device: { type: "string" },
        json: { type: "boolean", default: false },
        log: { type: "string" },
        "log-level": { type: "string" },
        "allow-root": { type: "boolean", default: false },
        help: { type: "boolean", short: "h", default: false },
      },
    });
  } catch (cause) {
    // Only the first sentence: the rest explains a way around that this program does not have.
    const [message] = (cause as Error).message.split(". ");
    throw new CommandLineError(message, { cause });
  }
}

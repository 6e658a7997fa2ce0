import { parseArgs } from "node:util";

export const USAGE = `rookery-agent: backs up the devices of a site for a Rookery control plane

  enroll --url URL --token TOKEN   join a control plane, once
  run                              work until SIGTERM (drains) or a second one (stops)
  status                           say who this agent is

  --state DIR                      the agent's folder (default: data/agent); may hold settings.json
  -h, --help                       print this
`;

const COMMANDS = ["enroll", "run", "status"] as const;
type Command = typeof COMMANDS[number];

/** What the command line asks for. */
export interface Order {
  readonly command: Command | "help";
  readonly state: string;
  readonly url: string | undefined;
  readonly token: string | undefined;
}

/** The command line cannot be understood; the usage says how to write it. */
export class CommandLineError extends Error {
  override name = "CommandLineError";
}

/** Reads the command line; throws a CommandLineError that names what is wrong in it. */
export function readCommandLine(args: readonly string[]): Order {
  const { values, positionals: [command, ...more] } = parse(args);
  const order = { state: values.state, url: values.url, token: values.token };
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

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        state: { type: "string", default: "data/agent" },
        url: { type: "string" },
        token: { type: "string" },
        help: { type: "boolean", short: "h", default: false },
      },
    });
  } catch (cause) {
    // Only the first sentence: the rest explains a way around that this program does not have.
    const [message] = (cause as Error).message.split(". ");
    throw new CommandLineError(message, { cause });
  }
}

import { parseArgs } from "node:util";

export const USAGE = `deno task demo [--devices N] [--once] [--json] [--seed N]

  --devices N  how many devices (default 24, from 12 to 2000)
  --once       end after the table: exit code 0 when every device ended as it should, else 1
  --json       print the same for programs, and no progress
  --seed N     other configurations (default 1)
  -h, --help   print this
`;

const DEVICES = { least: 12, most: 2_000 };

export interface DemoOptions {
  readonly devices: number;
  readonly seed: number;
  readonly once: boolean;
  readonly json: boolean;
  readonly help: boolean;
}

/** Reads the command line; throws a TypeError that names the flag. */
export function readOptions(args: readonly string[]): DemoOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      devices: { type: "string", default: "24" },
      seed: { type: "string", default: "1" },
      once: { type: "boolean", default: false },
      json: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  const devices = readNumber(values.devices);
  const { least, most } = DEVICES;
  if (!(devices >= least && devices <= most)) {
    throw new TypeError(`--devices must be a whole number from ${least} to ${most}`);
  }
  const seed = readNumber(values.seed);
  if (Number.isNaN(seed)) throw new TypeError("--seed must be a whole number, in digits");
  return { ...values, devices, seed };
}

/** Digits only: `1e2` and `0x20` are numbers to a program, and slips to a person. */
function readNumber(text: string): number {
  return /^\d{1,9}$/.test(text) ? Number(text) : NaN;
}

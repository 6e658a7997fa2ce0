import { parseArgs } from "node:util";

export const USAGE =
  `deno task faults [--seconds S] [--seed N] [--history DIR] [--devices N] [--pace N]

  --seconds S    how long faults are made (default 300, from 30); afterwards every job must end
  --seed N       other faults and other orders (default 1); the same seed plans the same
  --history DIR  leave all histories and an export of the job tables there; see tests/faults/history.ts
  --devices N    devices of the farm, and half as many more that only protocol agents know (default 200, from 8)
  --pace N       devices that are ordered every second (default 48)
  -h, --help     print this

Ends with 0 when every invariant holds, else with 1.
`;

export interface FaultsOptions {
  readonly seconds: number;
  readonly seed: number;
  readonly history: string | undefined;
  readonly devices: number;
  readonly pace: number;
  readonly help: boolean;
}

/** Reads the command line; throws a TypeError that names the flag. */
export function readOptions(args: readonly string[]): FaultsOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      seconds: { type: "string", default: "300" },
      seed: { type: "string", default: "1" },
      history: { type: "string" },
      devices: { type: "string", default: "200" },
      pace: { type: "string", default: "48" },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  return {
    seconds: readNumber("seconds", values.seconds, { least: 30, most: 86_400 }),
    seed: readNumber("seed", values.seed, { least: 0, most: 999_999_999 }),
    devices: readNumber("devices", values.devices, { least: 8, most: 1_000 }),
    pace: readNumber("pace", values.pace, { least: 1, most: 1_000 }),
    history: values.history,
    help: values.help,
  };
}

/** Digits only: `1e2` and `0x20` are numbers to a program, and slips to a person. */
function readNumber(
  flag: string,
  text: string,
  { least, most }: { readonly least: number; readonly most: number },
): number {
  const number = /^\d{1,9}$/.test(text) ? Number(text) : NaN;
  if (number >= least && number <= most) return number;
  throw new TypeError(`--${flag} must be a whole number from ${least} to ${most}`);
}

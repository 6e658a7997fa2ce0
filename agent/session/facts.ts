import { decodeText, linesOf } from "@rookery/shared/drivers/decode.ts";
import { markTurn } from "../ssh/turn.ts";
import type { Driver } from "@rookery/shared/drivers/driver.ts";
import { DeviceFacts } from "@rookery/shared/jobs/backup_config.ts";
import type { RunCommand } from "./command.ts";

type Facts = Driver["facts"][number];

/** What a device says about itself is a page or two. */
const MAX_FACT_BYTES = 512 * 1_024;

const MAX_FACT_LINE = 500;

/**
 * Reads the driver's facts; what was read for a capture is not asked for again. Their absence never fails a
 * backup: an error ends the reading, and what was found until then stands.
 */
export async function readFacts(
  run: RunCommand,
  { driver, known }: { readonly driver: Driver; readonly known: ReadonlyMap<string, Uint8Array> },
): Promise<DeviceFacts> {
  const found: Record<string, string> = {};
  try {
    for (const facts of driver.facts) {
      const bytes = known.get(facts.command) ?? await ask(run, facts.command);
      markTurn();
      if (bytes) Object.assign(found, parseFacts(facts, decodeText(bytes).text));
    }
  } catch {
    // Cisco closes the connection after one exec channel, others lack the command: the backup is complete.
  }
  return DeviceFacts.parse(found);
}

/** The first line that matches a field's pattern gives its value. */
export function parseFacts({ fields }: Facts, text: string): DeviceFacts {
  // A fact stands at the beginning of a line; patterns need not be quick on a line of a megabyte.
  const lines = linesOf(text).map((line) => line.slice(0, MAX_FACT_LINE));
  const found: Record<string, string> = {};
  for (const { name, pattern } of fields) {
    const compiled = new RegExp(pattern);
    const value = lines.map((line) => compiled.exec(line)?.[1]).find((match) => match);
    if (value) found[name] = clean(value);
  }
  return DeviceFacts.parse(found);
}

async function ask(run: RunCommand, command: string): Promise<Uint8Array | undefined> {
  const output = await run(command, {
    maxBytes: MAX_FACT_BYTES,
    isWhole: () => true,
    confirmPrompt: false,
  });
  return output.failure ? undefined : output.bytes;
}

function clean(value: string): string {
  // deno-lint-ignore no-control-regex -- a device's text goes into pages and logs
  const cut = value.replace(/[\x00-\x1f\x7f-\x9f]+/g, " ").trim().slice(0, 200);
  // Cutting may have left the first half of a surrogate pair, which is no text.
  return cut.replace(/[\ud800-\udbff]$/, "");
}

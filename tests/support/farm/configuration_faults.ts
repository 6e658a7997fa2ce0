import type { Behaviour, Scene } from "./behaviour.ts";
import { type Output, pause, SessionEnded, waitForEver } from "./output.ts";
import { PLATFORM_MANNERS } from "./platform.ts";

/** Faults of the configuration: what comes of it, and how. */

/**
 * Long enough for a reader that settles on a prompt to fall for it, and no longer than it waits for more. In steps, so that
 * a moment in which the event loop stands still, for the reader as well, counts as one of them.
 */
const FALSE_PROMPT = { steps: 6, milliseconds: 100 };
const HUGE_BYTES = 50 * 1024 * 1024;
const DRIP_TICKS = 150;
const DRIP_MILLISECONDS = 8;

/** Cuts at the middle line: the first part ends with a line feed, the second is the rest. */
export function halves(text: string): readonly [string, string] {
  const cut = text.indexOf("\n", Math.floor(text.length / 2)) + 1;
  return [text.slice(0, cut), text.slice(cut)];
}

async function dieMidway(output: Output, text: string): Promise<void> {
  await output.write(halves(text)[0]);
  await pause(20, output); // a reset at once would overtake what is still being sent
  output.reset();
  await waitForEver(output);
}

async function closeMidway(output: Output, text: string): Promise<void> {
  await output.write(halves(text)[0]);
  output.finish(0);
  throw new SessionEnded();
}

async function stallMidway(output: Output, text: string): Promise<void> {
  await output.write(halves(text)[0]);
  await waitForEver(output);
}

async function promptMidway(output: Output, text: string, { prompt }: Scene): Promise<void> {
  const [first, second] = halves(text);
  await output.write(`${first}${prompt}`);
  for (let step = 0; step < FALSE_PROMPT.steps; step++) {
    await pause(FALSE_PROMPT.milliseconds, output);
  }
  await output.write(`\n${second}`);
}

async function stopMidway(output: Output, text: string): Promise<void> {
  await output.write(halves(text)[0]);
}

function addLookalikes(text: string, { prompt }: Scene): string {
  const [first, second] = halves(text);
  return `${prompt}\n${first}${prompt}\n${prompt} \n${second}`;
}

/** Cuts inside of multi-byte characters and of line ends on purpose. */
async function drip(output: Output, text: string): Promise<void> {
  const bytes = output.encode(text);
  const step = Math.max(3, Math.ceil(bytes.length / DRIP_TICKS));
  for (let at = 0; at < bytes.length; at += step) {
    await output.writeBytes(bytes.subarray(at, at + step));
    await pause(DRIP_MILLISECONDS, output);
  }
}

function addNulBytes(text: string): string {
  const [first, second] = halves(text);
  return `${first}\0\0! \0\n${second}`;
}

/** Streams one chunk over and over: 50 MB per device are never held. */
async function sendHuge(output: Output, text: string): Promise<void> {
  const [first, second] = halves(text);
  const chunk = output.encode(`! ${"x".repeat(77)}\n`.repeat(800));
  await output.write(first);
  for (let sent = 0; sent < HUGE_BYTES; sent += chunk.length) await output.writeBytes(chunk);
  await output.write(second);
}

function addErrorText(text: string, { platform }: Scene): string {
  const lines = text.split("\n");
  const at = lines.findIndex((line) => /^ *(?:description|# )/.test(line));
  const indent = /^ */.exec(lines[at] ?? "")?.[0] ?? "";
  const words = "see ticket: % Invalid input detected at '^' marker. error: unknown command";
  const line = platform === "juniper_junos"
    ? `${indent}description "${words}";`
    : platform === "linux"
    ? `${indent}# ${words}`
    : `${indent}description ${words}`;
  return lines.with(at, line).join("\n");
}

export const CONFIGURATION_FAULTS = {
  command_rejected: { capture: "refuse" },
  endless_pager: { pager: "endless" },
  die_mid_configuration: { send: dieMidway },
  close_mid_configuration: { send: closeMidway },
  stall_mid_configuration: { send: stallMidway },
  prompt_mid_configuration: { send: promptMidway },
  stop_at_prompt_mid_configuration: { send: stopMidway },
  prompt_lookalikes: { text: addLookalikes },
  slow_drip: { send: drip, sendsAll: true },
  binary: { text: addNulBytes },
  huge: { send: sendHuge },
  empty_configuration: { send: () => Promise.resolve() },
  error_text_in_configuration: { text: addErrorText },
  shrunk: { text: (text, { platform }) => PLATFORM_MANNERS[platform].shrink(text) },
} as const satisfies Record<string, Behaviour>;

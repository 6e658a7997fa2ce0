import type { ServerChannel } from "ssh2";
import { Buffer } from "node:buffer";
import { makeOutput, type Output, type OutputOptions, untilEvent } from "./output.ts";

/** The keyboard and screen of a shell session, as a device sees them. */
export interface Terminal extends Output {
  /** Reads one line; typed characters are echoed when the device gets to read them, as on real lines. */
  readLine(options?: LineOptions): Promise<string>;
  readKey(): Promise<string>;
}

export interface LineOptions {
  /** Off for passwords; a function may spoil the echo of the whole line. */
  readonly echo?: boolean | ((line: string) => string);
}

const ERASE = ["\x7f", "\b"];
const KILL_LINE = "\x15";

/** Wraps a shell channel: line editing as far as programs need it, echo, and `\r`, `\n` or `\r\n` as Enter. */
export function makeTerminal(
  channel: ServerChannel,
  options: Omit<OutputOptions, "lineEnd">,
): Terminal {
  const output = makeOutput(channel, { ...options, lineEnd: "\r\n" });
  let typed = "";
  let wake: (() => void) | undefined;
  let afterReturn = false;
  channel.on("data", (chunk: Buffer) => {
    typed += chunk.toString("latin1");
    wake?.();
  });

  async function readRaw(): Promise<string> {
    while (typed === "") await untilEvent((next) => wake = next, options);
    const key = typed.charAt(0);
    typed = typed.slice(1);
    const isSecondHalf = key === "\n" && afterReturn;
    afterReturn = key === "\r";
    return isSecondHalf ? await readRaw() : key;
  }

  async function readLine({ echo = true }: LineOptions = {}): Promise<string> {
    let line = "";
    for (;;) {
      const key = await readRaw();
      if (key === "\r" || key === "\n") break;
      if (ERASE.includes(key)) line = line.slice(0, -1);
      else if (key === KILL_LINE) line = "";
      else line += key;
    }
    const text = Buffer.from(line, "latin1").toString("utf8");
    const shown = typeof echo === "function" ? echo(text) : echo ? text : "";
    await output.write(`${shown}\n`);
    return text;
  }

  return { ...output, readLine, readKey: readRaw };
}

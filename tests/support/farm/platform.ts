import { cisco_iosxe } from "@rookery/shared/drivers/cisco_iosxe.ts";
import type { Driver } from "@rookery/shared/drivers/driver.ts";
import { frr } from "@rookery/shared/drivers/frr.ts";
import { juniper_junos } from "@rookery/shared/drivers/juniper_junos.ts";
import { linux } from "@rookery/shared/drivers/linux.ts";
import type { FarmPlatform } from "./recording.ts";

/** How a platform of the farm behaves where platforms differ. */
export interface PlatformManner {
  readonly transport: Driver["transport"];
  /** The SSH identification, after `SSH-2.0-`. */
  readonly ident: string;
  readonly captureCommands: readonly string[];
  /** Adds to the stable text the lines that the device makes up at each call. */
  readonly render: (text: string, call: number) => string;
  /** A third of the text, complete in the eyes of the platform. */
  readonly shrink: (text: string) => string;
  /** What the device says to a command that it does not know or does not allow. */
  readonly refusal: (command: string) => string;
}

function commandsOf(driver: Driver): readonly string[] {
  return driver.captures.find((capture) => capture.name === "running")?.commands ?? [];
}

/** The device's clock: a minute later at every call. */
function timeOf(call: number): string {
  return new Date(Date.UTC(2026, 0, 1) + call * 60_000).toISOString().slice(0, 19).replace(
    "T",
    " ",
  );
}

function renderIosxe(text: string, call: number): string {
  const body = `!\n! Last configuration change at ${timeOf(call)} UTC by netops\n!\n` +
    text.replace(/^ntp clock-period .*$/m, `ntp clock-period ${17_179_869 + call}`);
  const bytes = new TextEncoder().encode(body).length;
  return `Building configuration...\n\nCurrent configuration : ${bytes} bytes\n${body}`;
}

/** The first third of the lines, up to a line that matches `boundary`, and the line that ends all. */
function firstThird(text: string, boundary: RegExp, end: string): string {
  const lines = text.split("\n");
  const third = Math.floor(lines.length / 3);
  const cut = lines.findIndex((line, index) => index >= third && boundary.test(line));
  return [...lines.slice(0, cut < 0 ? third : cut + 1), end].join("\n");
}

/** Whole top-level blocks of Junos until a third is reached; at least the first. */
function firstBlocks(text: string): string {
  const blocks = text.split(/(?<=^}\n)/m);
  const kept = blocks.filter((_, index) =>
    index === 0 || blocks.slice(0, index + 1).join("").length <= text.length / 3
  );
  return kept.join("");
}

function caret(command: string): string {
  return `${" ".repeat(command.length)}^\n% Invalid input detected at '^' marker.\n\n`;
}

export const PLATFORM_MANNERS: Record<FarmPlatform, PlatformManner> = {
  cisco_iosxe: {
    transport: "shell",
    ident: "Cisco-1.25",
    captureCommands: commandsOf(cisco_iosxe),
    render: renderIosxe,
    shrink: (text) => firstThird(text, /^!$/, "end\n\n"),
    refusal: caret,
  },
  juniper_junos: {
    transport: "exec",
    ident: "OpenSSH_7.5",
    captureCommands: commandsOf(juniper_junos),
    render: (text, call) => `## Last commit: ${timeOf(call)} UTC by netops\n${text}`,
    shrink: firstBlocks,
    refusal: (command) => `error: unknown command: ${command}\n`,
  },
  frr: {
    transport: "shell",
    ident: "OpenSSH_9.2p1 Debian-2+deb12u3",
    captureCommands: commandsOf(frr),
    render: (text) => `Building configuration...\n\nCurrent configuration:\n!\n${text}`,
    shrink: (text) => firstThird(text, /^!$/, "end\n"),
    refusal: (command) => `% Unknown command: ${command}\n`,
  },
  linux: {
    transport: "exec",
    ident: "OpenSSH_9.2p1 Debian-2+deb12u3",
    captureCommands: commandsOf(linux),
    render: (text) => text,
    shrink: (text) => firstThird(text, /^$/, "### end\n"),
    refusal: (command) => `sh: 1: ${command.split(" ")[0]}: not found\n`,
  },
};

import type { Driver } from "./driver.ts";

/** Of a command that reads: plain words, without quotes, variables, redirections, or a second command. */
const WORDS = /^[\w.\/-]+(?: [\w.\/-]+)*$/;
/** Only at the end of a command, and only these: other pipes write files. */
const PIPES = [" | display omit", " | display set", " | no-more", " | nomore", " | grep ."];
const READS = [
  /^(?:show|display|get)(?: |$)/,
  // Below /dev and /proc a file may do something when it is read.
  /^cat \/(?:etc|config|usr\/lib)(?:\/[\w.-]+)+$/,
  /^uname(?: -[a-z])?$/,
  /^more system:running-config$/,
  /^admin (?:display-config|show configuration(?: .+)?)$/,
  /^\/export(?: (?:show-sensitive|hide-sensitive|compact|verbose|terse))*$/,
  /^\/system (?:resource|routerboard|identity|license|package update) print$/,
];
/** Words with which a command that reads leaves something behind, on the device or elsewhere. */
const WRITES =
  /(?:^| )(?:redirect|append|tee|save|copy|file|request|tech-support|techsupport|diagnostic-information|support-bundle)(?: |$)/;

/** A command that reads by its form alone. */
export function isPlainRead(text: string): boolean {
  const pipe = PIPES.find((end) => text.endsWith(end)) ?? "";
  const command = text.slice(0, text.length - pipe.length);
  return !WRITES.test(command) && !command.includes("..") &&
    READS.some((read) => read.test(command)) &&
    // A colon stands in one command only, which is matched whole.
    (WORDS.test(command) || command === "more system:running-config");
}

/** Whether a person may ask a device of this driver for the output of a command: it reads, and nothing else. */
export function mayRead({ captures, facts }: Driver, command: string): boolean {
  return isPlainRead(command) || facts.some((own) => own.command === command) ||
    captures.some(({ commands }) => commands.includes(command));
}

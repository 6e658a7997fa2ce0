import type { Driver } from "@rookery/shared/drivers/driver.ts";
import { DRIVERS } from "@rookery/shared/drivers/mod.ts";
import { isPlainRead } from "@rookery/shared/drivers/read_only.ts";

/*
 * What a driver that came over the network may make this agent send. Whoever signs it may have been broken into, so that the
 * lists say what is allowed and nothing else is: a platform that needs more comes with a newer agent.
 */

/** What quiets the terminal of this one session. */
const OPENINGS = [
  /^term(?:inal)? (?:length|width) \d{1,5}$/,
  /^terminal (?:pager 0|datadump|no monitor|exec prompt no-timestamp)$/,
  /^no (?:page|paging)$/,
  /^screen-length (?:disable|0 temporary)$/,
  /^undo terminal monitor$/,
  /^set cli (?:screen-length|screen-width|terminal width) \d{1,5}$/,
  /^set cli (?:complete-on-space off|scripting-mode on|pager off)$/,
  /^disable clipaging session$/,
  /^skip-page-display$/,
  /^environment (?:no more|more false)$/,
];
/** Ways between modes: none of them leads to where a configuration is changed. */
const WAYS = [/^enable(?: 15)?$/, /^login$/, /^super$/, /^cli$/, /^sonic-cli$/];
/** `n` and `no` answer whether to save; never `y`. */
const LOGOUTS = [/^(?:exit|quit|logout|logoff)$/, /^(?:n|no)$/];
const PAGER_KEYS = [" ", "\n", "\r", "q", "Q"];
const DIALOGUE_ANSWERS = [...PAGER_KEYS, "n", "n\n", "n\r", "N", "N\n", "no\n", "no\r", "q\n"];
const TERMINAL = /^[a-z0-9-]{1,20}$/;

interface Line {
  readonly text: string;
  readonly what: string;
  readonly allowed: (text: string) => boolean;
}

/** Why this agent does not let a fetched driver speak to devices; undefined when all that it may send is harmless. */
export function whyNotReadOnly(driver: Driver): string | undefined {
  const line = linesOf(driver).find(({ text, allowed }) => !allowed(text));
  if (line) return `it sends ${JSON.stringify(line.text)} as ${line.what}`;
  return whyNotHarmless(driver);
}

function linesOf(driver: Driver): readonly Line[] {
  const as = (what: string, allowed: Line["allowed"]) => (text: string) => ({
    text,
    what,
    allowed,
  });
  const entries = Object.values(driver.modes).flatMap((mode) => mode.entries);
  return [
    ...driver.captures.flatMap(({ commands }) => commands).map(as("a capture's command", isRead)),
    ...driver.facts.map(({ command }) => command).map(as("a command for facts", isRead)),
    ...driver.opening.map(({ send }) => send).map(as("an opening line", among(OPENINGS))),
    ...entries.map(({ send }) => send).map(as("a way to a mode", among(WAYS))),
    ...driver.logout.map(as("a line to log out", among(LOGOUTS))),
  ];
}

/** Also the very commands of the drivers that came with this agent: one of them is a small program of a shell. */
function isRead(text: string): boolean {
  return OWN_COMMANDS.has(text) || isPlainRead(text);
}

function among(patterns: readonly RegExp[]): (text: string) => boolean {
  return (text) => patterns.some((pattern) => pattern.test(text));
}

const OWN = [...DRIVERS.values()];
const OWN_COMMANDS = new Set(OWN.flatMap(({ captures, facts }) => [
  ...captures.flatMap(({ commands }) => commands),
  ...facts.map(({ command }) => command),
]));
/** A secret is typed at these questions only: at a prompt it would be a command of whoever chose the secret. */
const OWN_QUESTIONS = new Set(
  OWN.flatMap(({ modes }) => Object.values(modes))
    .flatMap(({ entries }) => entries.map(({ question }) => question)),
);

/** What is sent besides lines. */
function whyNotHarmless({ modes, pagers, dialogues, terminal }: Driver): string | undefined {
  const pager = pagers.find(({ answer }) => !PAGER_KEYS.includes(answer));
  if (pager) return `it answers a pager with ${JSON.stringify(pager.answer)}`;
  const dialogue = dialogues.find(({ answer }) => !DIALOGUE_ANSWERS.includes(answer));
  if (dialogue) return `it answers a question with ${JSON.stringify(dialogue.answer)}`;
  const entry = Object.values(modes).flatMap(({ entries }) => entries)
    .find(({ question }) => question !== undefined && !OWN_QUESTIONS.has(question));
  if (entry) return `it types a secret at a question that no driver of this agent knows`;
  return TERMINAL.test(terminal.term) ? undefined : "it names an unusual terminal";
}

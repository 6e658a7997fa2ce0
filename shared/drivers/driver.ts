/**
 * The closed vocabulary of a device driver. A driver is data: no functions, every regular expression is
 * kept as its source text, so that a driver can be stored, signed, shown and sent. The session engine
 * speaks this vocabulary and knows no vendor.
 */
import { z } from "zod";
import { FailureCode } from "../jobs/failure.ts";

/**
 * A regular expression without flags, written as a literal or as its source. It is tried against one line
 * (the last terminal line for prompts); case-insensitive parts are written `(?i:…)`.
 */
const Pattern = z.union([z.string(), z.instanceof(RegExp)]).transform((value, context) => {
  if (typeof value !== "string" && value.flags !== "") {
    context.addIssue({ code: "custom", message: "a pattern has no flags; write (?i:…)" });
    return z.NEVER;
  }
  const source = typeof value === "string" ? value : value.source;
  try {
    new RegExp(source);
    return source;
  } catch {
    context.addIssue({ code: "custom", message: "not a regular expression" });
    return z.NEVER;
  }
}).pipe(z.string().min(1).max(1_000));

const Why = z.string().min(10).max(300);
const Name = z.string().regex(/^[a-z][a-zA-Z0-9_]*$/);
const Command = z.string().min(1).max(500).regex(/^[^\r\n\0]+$/, "must be one line");

/** Where the knowledge in a driver comes from; shown in README, API and app. */
const Evidence = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("real_recording"), source: z.string(), version: z.string() }),
  z.strictObject({ kind: z.literal("vendor_document"), link: z.url() }),
  z.strictObject({ kind: z.literal("unverified") }),
]);

/** One way into a mode: send a line in mode `from`; answer the question it asks, if any. */
const Entry = z.strictObject({
  from: Name,
  send: Command,
  /** The question that may follow, and what to answer it with; secrets are named, never written. */
  question: Pattern.optional(),
  answer: z.enum(["enableSecret", "username", "password"]).optional(),
});

const Mode = z.strictObject({ prompt: Pattern, entries: z.array(Entry).default([]) });

/** Text that the device shows before its first prompt, and the harmless answer to it. */
const Dialogue = z.strictObject({ pattern: Pattern, answer: z.string().max(20), why: Why });

/** A line that stops the output until a key is pressed; it is removed from what was read. */
const Pager = z.strictObject({ pattern: Pattern, answer: z.string().max(5) });

/** A line sent after login to quiet the terminal. It never changes the state of the device. */
const Opening = z.strictObject({ send: Command, mayFail: z.boolean().default(false) });

/**
 * The text of a device that means failure: in the first lines after the echo, or, with `anywhere`, wherever it
 * stands in what was read. Only texts that no configuration contains may be searched for anywhere.
 */
const FailureText = z.strictObject({
  pattern: Pattern,
  code: FailureCode,
  anywhere: z.boolean().default(false),
});

/**
 * How the end of a configuration is known. `marker`: its last line matches; `structure`: it is balanced in
 * `syntax` and its last line closes it; `two-read`: two readings agree; `prompt`: only prompt and size.
 */
const End = z.discriminatedUnion("grade", [
  z.strictObject({ grade: z.literal("marker"), line: Pattern }),
  z.strictObject({ grade: z.literal("structure"), syntax: z.enum(["braces", "xml"]) }),
  z.strictObject({ grade: z.literal("two-read") }),
  z.strictObject({ grade: z.literal("prompt") }),
]);

/** The grades of completeness, strongest first. */
export const Grade = z.enum(["marker", "structure", "two-read", "prompt"]).meta({ id: "Grade" });
export type Grade = z.infer<typeof Grade>;

/** What a device prints into a session unasked, such as log messages: a reading with such a line is read again. */
const Noise = z.strictObject({ line: Pattern, why: Why });

/** A configuration to read: the first command that is not refused, and the contract of completeness. */
const Capture = z.strictObject({
  name: Name,
  /** Tried in order: the next one if the device refuses the one before. */
  commands: z.array(Command).min(1),
  /** Lines before this one are the device talking, not the configuration (kept in the exact bytes). */
  begin: Pattern.optional(),
  end: End,
  /** What every complete configuration of the platform has, checked at every backup. */
  minimum: z.strictObject({ lines: z.int().min(1), sections: z.array(Pattern).default([]) }),
});
export type Capture = z.infer<typeof Capture>;

/** A command whose output is parsed into named facts; its absence never fails a backup. */
const Facts = z.strictObject({
  command: Command,
  fields: z.array(z.strictObject({
    name: z.enum(["model", "serialNumber", "osVersion", "hostname", "uptime", "lastChangedBy"]),
    /** The first capture group is the value. */
    pattern: Pattern,
  })).min(1),
});

/** What changes by itself: ignored when deciding "changed or not", kept in the exact bytes. */
const Volatile = z.union([
  z.strictObject({ line: Pattern, why: Why }),
  z.strictObject({ from: Pattern, to: Pattern, why: Why }),
]);

/** What must not be read: group 1 of `line`, or every line of the block, becomes `<secret:xxxx>`. */
const Secret = z.union([
  z.strictObject({
    /** The secret is the capture group named `secret`. */
    line: Pattern.refine((source) => source.includes("(?<secret>"), "names no group (?<secret>…)"),
    /** The device writes the same secret differently each time, so no tag can be told from it. */
    resalted: z.boolean().default(false),
    why: Why,
  }),
  z.strictObject({ from: Pattern, to: Pattern, why: Why }),
]);

/** How a device shows that it is of the platform: by its SSH identification, or by its answer to a command that reads. */
const Clue = z.union([
  z.strictObject({ ident: Pattern, sure: z.enum(["likely", "possible"]), why: Why }),
  z.strictObject({
    command: Command,
    line: Pattern,
    sure: z.enum(["certain", "likely"]),
    why: Why,
  }),
]);
export type Clue = z.infer<typeof Clue>;

/** One platform, as data. */
export const Driver = z.strictObject({
  platform: z.string().regex(/^[a-z0-9]+_?[a-z0-9]*$/).max(40),
  label: z.string().max(60),
  evidence: Evidence,
  transport: z.enum(["shell", "exec"]),
  newline: z.enum(["\n", "\r", "\r\n"]).default("\n"),
  terminal: z.strictObject({
    term: z.string().default("vt100"),
    columns: z.int().min(80).max(1_000).default(511),
    rows: z.int().min(24).max(1_000).default(1_000),
  }).default({ term: "vt100", columns: 511, rows: 1_000 }),
  /** `relaxed` for devices that complete or repeat what is typed, so that the echo cannot be checked. */
  echo: z.enum(["required", "relaxed"]).default("required"),
  modes: z.record(Name, Mode).default({}),
  /** The mode in which captures are read; shell drivers need one. */
  captureMode: Name.optional(),
  dialogues: z.array(Dialogue).default([]),
  pagers: z.array(Pager).default([]),
  opening: z.array(Opening).default([]),
  captures: z.array(Capture).min(1),
  facts: z.array(Facts).default([]),
  failures: z.array(FailureText).default([]),
  /** What tells the platform from others. */
  clues: z.array(Clue).default([]),
  noise: z.array(Noise).default([]),
  volatile: z.array(Volatile).default([]),
  secrets: z.array(Secret).default([]),
  /** Lines that end the session without saving anything. */
  logout: z.array(Command).default(["exit"]),
  /** The vendor's procedure to bring a configuration back, in one sentence. */
  restore: z.string().max(300),
}).refine(
  (driver) => driver.transport === "exec" || driver.captureMode !== undefined,
  { path: ["captureMode"], message: "a shell driver names its captureMode" },
).refine(
  (driver) => driver.captureMode === undefined || driver.captureMode in driver.modes,
  { path: ["captureMode"], message: "is no mode of this driver" },
).meta({ id: "Driver" });
export type Driver = z.infer<typeof Driver>;
export type DriverSource = z.input<typeof Driver>;

/** Checks a driver and turns its regular expressions into their sources; throws a ZodError naming the field. */
export function driver(source: DriverSource): Driver {
  return Driver.parse(source);
}

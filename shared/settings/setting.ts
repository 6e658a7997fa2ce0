import type { z } from "zod";

/** What the number of a setting counts. */
export const UNITS = [
  "attempts",
  "bytes",
  "characters",
  "days",
  "devices",
  "hours",
  "jobs",
  "minutes",
  "percent",
  "revisions",
  "seconds",
  "sessions",
] as const;
export type Unit = typeof UNITS[number];

/** One thing that an installation may have otherwise. Whoever adds one adds what it changes, and a test of that. */
export interface Setting<Schema extends z.ZodType = z.ZodType> {
  readonly schema: Schema;
  /** In force while nothing else is stored. */
  readonly default: z.output<Schema>;
  /** For people: what it does, and from when on. */
  readonly description: string;
  /** Null: it counts nothing. */
  readonly unit: Unit | null;
}

/** Declares a setting; what is stored of it is an integer, a boolean or a text. */
export function setting<Schema extends z.ZodType<number | boolean | string>>(
  written: Setting<Schema>,
): Setting<Schema> {
  return written;
}

/** What the bench and its load processes say to each other: one JSON line each way. */
import { z } from "zod";

/** Which agents a process plays, and where the control plane is. */
export const LoadSetup = z.strictObject({
  publicUrl: z.string(),
  /** The replicas' ports; agents take turns by their number. */
  ports: z.array(z.int()),
  from: z.int(),
  count: z.int(),
  drivers: z.record(z.string(), z.string()),
});
export type LoadSetup = z.infer<typeof LoadSetup>;

export const Order = z.discriminatedUnion("order", [
  /** Opens the session of every agent. */
  z.strictObject({ order: z.literal("open") }),
  /** Lets every agent wait for work, as it does for most of its life; until `rest`. */
  z.strictObject({ order: z.literal("idle") }),
  z.strictObject({ order: z.literal("rest") }),
  z.strictObject({ order: z.literal("count") }),
  /** The first agents claim and report, as fast as so many of them at a time can. */
  z.strictObject({
    order: z.literal("drive"),
    agents: z.int(),
    atOnce: z.int(),
    batch: z.int(),
    seconds: z.number(),
  }),
  /** The first agents take turns to claim one job and report it, at a fixed rate whatever the answers take. */
  z.strictObject({
    order: z.literal("pace"),
    agents: z.int(),
    perSecond: z.number(),
    seconds: z.number(),
  }),
  z.strictObject({ order: z.literal("stop") }),
]);
export type Order = z.infer<typeof Order>;

export const Counted = z.object({
  requests: z.int(),
  refused: z.int(),
  problems: z.record(z.string(), z.int()),
  jobs: z.int(),
});

export const Driven = z.object({
  jobs: z.int(),
  /** From the first claim to the last answer. */
  seconds: z.number(),
  claims: z.int(),
  /** Claims that brought nothing: the queue was empty. */
  empty: z.int(),
  /** Turns that ended with a refusal. */
  failed: z.int(),
  /** How long each claim took, in milliseconds; paced ones from the moment they were due. */
  claimMs: z.array(z.number()),
  resultMs: z.array(z.number()),
});
export type Driven = z.infer<typeof Driven>;

export const Answer = z.object({
  ok: z.boolean(),
  error: z.string().optional(),
  counted: Counted.optional(),
  driven: Driven.optional(),
});
export type Answer = z.infer<typeof Answer>;

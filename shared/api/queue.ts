import { z } from "zod";
import { endpoint } from "../endpoint.ts";

/** The queue of all sites together, and what holds for it as a whole. */
export const Queue = z.object({
  /** No new lease is granted; what runs goes on to its end. */
  maintenance: z.boolean(),
  /** Open jobs of all sites together, beside the limit of each site. */
  maxQueued: z.int(),
  /** Jobs that have not ended. */
  open: z.int(),
  /** Of these, leased to an agent. */
  leased: z.int(),
}).meta({ id: "Queue" });
export type Queue = z.infer<typeof Queue>;

export const getQueue = endpoint({
  method: "GET",
  path: "/api/v1/queue",
  access: "jobs:read",
  summary: "Read the state of the queue as a whole; counts are of the sites that the caller sees",
  reply: Queue,
});

export const updateQueue = endpoint({
  method: "PATCH",
  path: "/api/v1/queue",
  access: "sites:write",
  summary:
    "Switch maintenance on or off, or change the limit of open jobs; for whoever sees all sites",
  body: z.strictObject({
    maintenance: z.boolean(),
    maxQueued: z.int().min(1).max(100_000_000),
  }).partial(),
  reply: Queue,
});

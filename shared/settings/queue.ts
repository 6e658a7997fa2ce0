import { z } from "zod";
import { setting } from "./setting.ts";

/** The queue as a whole: the same two values as in `GET /api/v1/queue`, whichever of the two changes them. */
export const QUEUE = {
  "queue.maintenance": setting({
    schema: z.boolean(),
    default: false,
    description: "No new lease is granted anywhere; what runs goes on to its end",
    unit: null,
  }),
  "queue.max_queued": setting({
    schema: z.int().min(1).max(100_000_000),
    default: 1_000_000,
    description: "Open jobs of all sites together, beside the limit of each site",
    unit: "jobs",
  }),
} as const;

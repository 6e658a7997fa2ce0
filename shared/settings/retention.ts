import { z } from "zod";
import { setting } from "./setting.ts";

/** How long is kept what nobody asked to be kept for ever. It is tidied every hour. */
export const RETENTION = {
  "retention.events_hours": setting({
    schema: z.int().min(1).max(720),
    default: 24,
    description: "How long readers of event streams may be away and still go on where they were",
    unit: "hours",
  }),
  "retention.policy_runs_days": setting({
    schema: z.int().min(1).max(3_650),
    default: 90,
    description: "How long the ledger of what became of the runs of policies goes back",
    unit: "days",
  }),
} as const;

import { z } from "zod";
import { setting } from "./setting.ts";

/** How long is kept what nobody asked to be kept for ever. It is tidied every hour; revisions only when somebody orders it. */
export const RETENTION = {
  "retention.events_hours": setting({
    schema: z.int().min(1).max(720),
    default: 24,
    description: "How long readers of event streams may be away and still go on where they were",
    unit: "hours",
  }),
  "retention.audit_days": setting({
    schema: z.int().min(30).max(36_500),
    default: 3_650,
    description:
      "How long the audit log goes back; what is older is dropped, with a signed note of it",
    unit: "days",
  }),
  "retention.policy_runs_days": setting({
    schema: z.int().min(1).max(3_650),
    default: 90,
    description: "How long the ledger of what became of the runs of policies goes back",
    unit: "days",
  }),
  "retention.revisions_last": setting({
    schema: z.int().min(1).max(10_000),
    default: 50,
    description: "How many of the newest accepted revisions of each capture stay, however old",
    unit: "revisions",
  }),
  "retention.revisions_days": setting({
    schema: z.int().min(1).max(36_500),
    default: 730,
    description: "For how long after it was last seen a revision stays, however many there are",
    unit: "days",
  }),
} as const;

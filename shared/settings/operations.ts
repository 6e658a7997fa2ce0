import { z } from "zod";
import { setting } from "./setting.ts";

/** How it is run. */
export const OPERATIONS = {
  "agents.key_days": setting({
    schema: z.int().min(1).max(365),
    default: 30,
    description: "The age at which an agent is told to make new keys",
    unit: "days",
  }),
  "logging.level": setting({
    schema: z.enum(["info", "warn", "error"]),
    default: "info",
    description: "The least grave of the lines that the control plane logs",
    unit: null,
  }),
} as const;

import { z } from "zod";
import { setting } from "./setting.ts";

/** Who gets in, and for how long. */
export const SECURITY = {
  "security.password_min_length": setting({
    schema: z.int().min(12).max(64),
    default: 12,
    description: "The least length of a new password; those that exist stay good",
    unit: "characters",
  }),
  "security.session_hours": setting({
    schema: z.int().min(1).max(8_760),
    default: 168,
    description:
      "How long a login lasts, whatever is done in it; a shorter time ends older ones at once",
    unit: "hours",
  }),
  "security.session_idle_minutes": setting({
    schema: z.int().min(5).max(43_200),
    default: 720,
    description: "How long a login lasts in which nothing is done; for those that exist, too",
    unit: "minutes",
  }),
} as const;

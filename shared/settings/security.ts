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
  "security.api_token_max_days": setting({
    schema: z.int().min(1).max(366),
    default: 366,
    description: "The longest that a new API token may live; those that exist live on",
    unit: "days",
  }),
  "security.login_free_failures": setting({
    schema: z.int().min(1).max(20),
    default: 5,
    description: "Wrong passwords in a row, for one account from one network, before waits begin",
    unit: "attempts",
  }),
  "security.login_longest_wait_seconds": setting({
    schema: z.int().min(1).max(1_800),
    default: 900,
    description: "How long the wait between two guesses at a password becomes at most",
    unit: "seconds",
  }),
  "security.second_factor": setting({
    schema: z.enum(["off", "administrators", "all"]),
    default: "off",
    description: "Who must have a second factor; who has none does nothing else before they enrol",
    unit: null,
  }),
  "security.lockout_failures": setting({
    schema: z.int().min(2).max(1_000),
    default: 10,
    description: "Wrong passwords in a row, for one account from everywhere, until it is locked",
    unit: "attempts",
  }),
  "security.lockout_minutes": setting({
    schema: z.int().min(1).max(1_440),
    default: 15,
    description: "How long it stays locked after the last of them; for those that are, too",
    unit: "minutes",
  }),
} as const;

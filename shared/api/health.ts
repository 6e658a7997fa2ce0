import { z } from "zod";
import { endpoint } from "../endpoint.ts";

export const getHealth = endpoint({
  method: "GET",
  path: "/healthz",
  access: "public",
  summary: "Say that the process answers",
  reply: z.object({ status: z.literal("ok") }),
});

export const getReadiness = endpoint({
  method: "GET",
  path: "/readyz",
  access: "public",
  summary:
    "Say whether the database answers, is migrated, and the upkeep is in time; 503 otherwise",
  reply: z.object({ status: z.literal("ready") }),
});

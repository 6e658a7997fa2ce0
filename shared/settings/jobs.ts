import { z } from "zod";
import { RETRY_POLICIES } from "../jobs/failure.ts";
import { setting } from "./setting.ts";

const Attempts = z.int().min(1).max(20);

/** How often a job is tried, the first time included. What is waiting goes by a change with its next failure. */
export const JOBS = {
  "jobs.transport_attempts": setting({
    schema: Attempts,
    default: RETRY_POLICIES.transport.attempts,
    description: "How often a job is tried whose device could not be reached",
    unit: "attempts",
  }),
  "jobs.busy_attempts": setting({
    schema: Attempts,
    default: RETRY_POLICIES.busy.attempts,
    description: "How often a job is tried whose device says that it is busy",
    unit: "attempts",
  }),
  "jobs.driver_attempts": setting({
    schema: Attempts,
    default: RETRY_POLICIES.driver.attempts,
    description: "How often a job is tried whose device did not answer as its driver expects",
    unit: "attempts",
  }),
  "jobs.session_attempts": setting({
    schema: Attempts,
    default: RETRY_POLICIES.session.attempts,
    description: "How often a job is tried whose agent was lost, or ran out of time",
    unit: "attempts",
  }),
} as const;

/** When a credential that is refused is used no more. Lock-outs at devices and their servers often begin at three. */
export const CREDENTIALS = {
  "credentials.refusals_to_quarantine": setting({
    schema: z.int().min(1).max(20),
    default: 3,
    description: "Devices that refuse a credential, with no success between, until none is tried",
    unit: "devices",
  }),
  "credentials.device_refusals_to_quarantine": setting({
    schema: z.int().min(1).max(20),
    default: 3,
    description: "Refusals by one device, with no success there between, until it is not tried",
    unit: "attempts",
  }),
} as const;

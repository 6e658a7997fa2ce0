import type { z } from "zod";
import type { Driver } from "../drivers/driver.ts";
import type { FieldError } from "../problem.ts";

/** How a kind of job is described, with its payload's type. */
export interface KindSource<Payload, Outcome> {
  readonly payload: z.ZodType<Payload>;
  readonly outcome: z.ZodType<Outcome>;
  /** For people, in a few words. */
  readonly summary: string;
  /** Jobs of one device are the same job whatever their payload: the waiting one takes the later one in. */
  readonly oneForDevice: boolean;
  /** Whether the session logs in: if not, the device needs no credential, and a bad one does not hold the job. */
  readonly logsIn: (payload: Payload) => boolean;
  /** Every line that the session may send, sorted, each once: the lease names the digest of the list. */
  readonly commandsOf: (driver: Driver, payload: Payload) => readonly string[];
  /** What in the payload a device with this driver cannot do; `pointer` counts from the payload. */
  readonly refuse: (driver: Driver, payload: Payload) => readonly FieldError[];
}

/** A payload that has the form of its kind, and what follows from it. */
export interface Ask {
  readonly payload: unknown;
  readonly logsIn: boolean;
  readonly commandsOf: (driver: Driver) => readonly string[];
  readonly refuse: (driver: Driver) => readonly FieldError[];
}

/**
 * What all of Rookery needs to know about a kind of job: control plane, agent and API read it here, and none of them knows
 * a kind by its name. What runs it stands in `agent/jobs`, what is kept of it in `control-plane/jobs/kinds.ts`.
 */
export interface KindContract<Payload = unknown, Outcome = unknown> {
  readonly payload: z.ZodType<Payload>;
  readonly outcome: z.ZodType<Outcome>;
  readonly summary: string;
  readonly oneForDevice: boolean;
  /** Throws a ZodError when the payload has not the form of the kind. */
  readonly read: (payload: unknown) => Ask;
}

export function kind<Payload, Outcome>(
  { logsIn, commandsOf, refuse, ...shown }: KindSource<Payload, Outcome>,
): KindContract<Payload, Outcome> {
  const read = (given: unknown): Ask => {
    const payload = shown.payload.parse(given);
    return {
      payload,
      logsIn: logsIn(payload),
      commandsOf: (driver) => [...new Set(commandsOf(driver, payload))].sort(),
      refuse: (driver) => refuse(driver, payload),
    };
  };
  return { ...shown, read };
}

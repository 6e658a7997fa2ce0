import type { Behaviour } from "./behaviour.ts";
import { CONFIGURATION_FAULTS } from "./configuration_faults.ts";
import { CONNECTION_FAULTS } from "./connection_faults.ts";
import type { Fault } from "./fault.ts";

/** What each fault does. `refuse` is no behaviour of a connection: there is none. */
export const BEHAVIOURS: Record<Fault, Behaviour> = {
  refuse: {},
  ...CONNECTION_FAULTS,
  ...CONFIGURATION_FAULTS,
};

import type { DriverSet } from "@rookery/shared/drivers/driver_set.ts";
import type { Texts } from "../backups/texts.ts";
import type { ClaimFloors } from "../jobs/claim_floor.ts";
import type { Log } from "../http/log.ts";
import type { Overload } from "../http/overload.ts";
import type { Wakeups } from "../jobs/wakeups.ts";
import type { AgentAuthentication } from "./authenticate_agent.ts";
import type { SessionCount } from "./session_count.ts";

/** What the calls of agents need: one set per process. */
export interface AgentServices extends AgentAuthentication {
  readonly incarnation: number;
  readonly wakeups: Wakeups;
  readonly overload: Overload;
  readonly floors: ClaimFloors;
  readonly sessionCount: SessionCount;
  readonly texts: Texts;
  /** The drivers in force; agents that have others are offered these. */
  readonly drivers: DriverSet;
  /** This control plane's own version: agents may be two minor versions behind it. */
  readonly engineVersion: string;
  readonly log: Log;
}

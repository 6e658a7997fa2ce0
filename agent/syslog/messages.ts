/**
 * What the agent's main thread and the syslog thread say to each other. Whatever comes from the latter has passed through
 * hostile hands and is checked for its form.
 */
import { z } from "zod";
import { AgentHint, MAX_AGENT_HINTS } from "@rookery/shared/api/agent_protocol.ts";
import { toldText } from "@rookery/shared/jobs/failure.ts";
import type { SyslogSettings } from "./settings.ts";

/** Main thread to syslog thread: what to listen to, and then each time that it may tell more. */
export type ToSyslogThread =
  | { readonly type: "listen"; readonly settings: SyslogSettings }
  | { readonly type: "more" };

const Count = z.int().min(0);

/** What was heard since the start. */
export const SyslogFigures = z.strictObject({
  /** Messages of allowed sources. */
  messages: Count,
  /** Those that say that something has changed. */
  changes: Count,
  /** Messages and connections of sources that are not allowed. */
  refused: Count,
  /** Messages beyond the rate of their source. */
  tooMany: Count,
  /** Changes that found no room: told more of than the control plane takes. */
  noRoom: Count,
});
export type SyslogFigures = z.infer<typeof SyslogFigures>;

export const NO_FIGURES: SyslogFigures = {
  messages: 0,
  changes: 0,
  refused: 0,
  tooMany: 0,
  noRoom: 0,
};

/** Syslog thread to main thread. */
export const FromSyslogThread = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("listening") }),
  z.strictObject({ type: z.literal("deaf"), reason: toldText(500) }),
  z.strictObject({
    type: z.literal("news"),
    hints: z.array(AgentHint).max(MAX_AGENT_HINTS),
    figures: SyslogFigures,
  }),
]);
export type FromSyslogThread = z.infer<typeof FromSyslogThread>;

/** The version that the agent reports; the control plane serves the two minor versions before its own. */
export const AGENT_VERSION = "0.1.0";

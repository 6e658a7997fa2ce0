/** The version of agent and control plane; an agent may be two minor versions behind its control plane. */
export const ENGINE_VERSION = "0.1.0";

export { ENGINE_VERSION as AGENT_VERSION } from "@rookery/shared/version.ts";

import { type AnyEndpoint, isEndpoint } from "../endpoint.ts";
import * as agentIdentity from "./agent_identity.ts";
import * as agentProtocol from "./agent_protocol.ts";
import * as agents from "./agents.ts";
import * as apiTokens from "./api_tokens.ts";
import * as audit from "./audit.ts";
import * as backups from "./backups.ts";
import * as changeHints from "./change_hints.ts";
import * as credentials from "./credentials.ts";
import * as deviceChanges from "./device_changes.ts";
import * as deviceEdits from "./device_edits.ts";
import * as devices from "./devices.ts";
import * as health from "./health.ts";
import * as hostKeys from "./host_keys.ts";
import * as imports from "./imports.ts";
import * as inventory from "./inventory.ts";
import * as jobHistory from "./job_history.ts";
import * as jobs from "./jobs.ts";
import * as manyJobs from "./many_jobs.ts";
import * as metrics from "./metrics.ts";
import * as oidc from "./oidc.ts";
import * as permissions from "./permissions.ts";
import * as policies from "./policies.ts";
import * as queue from "./queue.ts";
import * as retention from "./retention.ts";
import * as roles from "./roles.ts";
import * as search from "./search.ts";
import * as secondFactor from "./second_factor.ts";
import * as sessions from "./sessions.ts";
import * as settings from "./settings.ts";
import * as setup from "./setup.ts";
import * as sites from "./sites.ts";
import * as tagNames from "./tag_names.ts";
import * as tagRules from "./tag_rules.ts";
import * as tasks from "./tasks.ts";
import * as tenants from "./tenants.ts";
import * as users from "./users.ts";
import * as viewers from "./viewers.ts";

const NOUNS = {
  agentIdentity,
  agentProtocol,
  agents,
  apiTokens,
  audit,
  backups,
  changeHints,
  credentials,
  deviceChanges,
  deviceEdits,
  devices,
  health,
  hostKeys,
  imports,
  inventory,
  jobHistory,
  jobs,
  manyJobs,
  metrics,
  oidc,
  permissions,
  policies,
  queue,
  retention,
  roles,
  search,
  secondFactor,
  sessions,
  settings,
  setup,
  sites,
  tagNames,
  tagRules,
  tasks,
  tenants,
  users,
  viewers,
} as const;

/** An endpoint with the name of the export that declares it: `createDevice`. */
export interface NamedEndpoint {
  readonly name: string;
  readonly endpoint: AnyEndpoint;
}

/** Every endpoint that the control plane serves. */
export const ENDPOINTS: readonly NamedEndpoint[] = Object.values(NOUNS)
  .flatMap((noun) => Object.entries(noun))
  .flatMap(([name, endpoint]) => isEndpoint(endpoint) ? [{ name, endpoint }] : []);

import { OpenAPIHono } from "@hono/zod-openapi";
import { authenticateAgent } from "./agents/authenticate_agent.ts";
import { mountAgentIdentity } from "./agents/identity_routes.ts";
import { mountAgentProtocol } from "./agents/protocol_routes.ts";
import { mountAgents } from "./agents/routes.ts";
import { mountApiTokens } from "./api_tokens/routes.ts";
import { findApiTokenCaller } from "./api_tokens/store.ts";
import { mountAudit } from "./audit/routes.ts";
import { mountQuarantine } from "./backups/quarantine_routes.ts";
import { mountBackups } from "./backups/routes.ts";
import { mountChangeHints } from "./change_hints/routes.ts";
import { mountCredentials } from "./credentials/routes.ts";
import { mountCredentialStates } from "./credentials/state_routes.ts";
import { mountDeviceChanges } from "./devices/change_routes.ts";
import { mountDevices } from "./devices/routes.ts";
import { mountTags } from "./devices/tag_routes.ts";
import { mountTagRules } from "./devices/tag_rule_routes.ts";
import { mountHealth } from "./health/routes.ts";
import { mountHostKeyLists } from "./host_keys/list_routes.ts";
import { mountHostKeys } from "./host_keys/routes.ts";
import type { App, AppEnv } from "./http/app_type.ts";
import { authenticateBy } from "./http/authenticate.ts";
import { observeRequests } from "./http/observe.ts";
import { mountOpenApi } from "./http/openapi.ts";
import { mountPages } from "./http/pages.ts";
import { mountProblems } from "./http/problems.ts";
import { mountImports } from "./inventory/import_routes.ts";
import { mountInventoryExport } from "./inventory/export_routes.ts";
import { mountLeases } from "./jobs/lease_routes.ts";
import { mountJobs } from "./jobs/routes.ts";
import { mountMetrics } from "./metrics/routes.ts";
import { mountOidc } from "./oidc/routes.ts";
import { mountPermissions } from "./permissions/routes.ts";
import { mountViewers } from "./permissions/viewer_routes.ts";
import { mountPolicies } from "./policies/routes.ts";
import { mountRoles } from "./roles/routes.ts";
import { mountSearch } from "./search/routes.ts";
import { mountSecondFactor } from "./second_factor/routes.ts";
import type { Services } from "./services.ts";
import { mountSessions } from "./sessions/routes.ts";
import { findSessionCaller } from "./sessions/store.ts";
import { mountSettings } from "./settings/routes.ts";
import { mountSetup } from "./setup/routes.ts";
import { mountSites } from "./sites/routes.ts";
import { mountQueue } from "./queue/routes.ts";
import { mountTasks } from "./tasks/routes.ts";
import { mountTenants } from "./tenants/routes.ts";
import { mountUsers } from "./users/routes.ts";

/** The whole HTTP side: give `app.fetch` to a server, or call it as it is. */
export function createApp(services: Services): App {
  const app: App = new OpenAPIHono<AppEnv>();
  const { db } = services;
  const authenticate = authenticateBy({
    ...services,
    session: (secret) => findSessionCaller(db, secret),
    apiToken: (secret) => findApiTokenCaller(db, secret),
    agent: (context) => authenticateAgent(context, services),
  });
  observeRequests(app, { ...services, authenticate });
  mountProblems(app);
  mountPeople(app, services);
  mountInventory(app, services);
  mountWork(app, services);
  mountOpenApi(app, { cookieName: services.cookie.name });
  mountPages(app);
  return app;
}

function mountPeople(app: App, services: Services): void {
  mountHealth(app, services);
  mountMetrics(app, services);
  mountSetup(app, services);
  mountSessions(app, services);
  mountSecondFactor(app, services);
  mountOidc(app, services);
  mountApiTokens(app, services);
  mountUsers(app, services);
  mountSettings(app, services);
  mountRoles(app, services);
  mountPermissions(app, services);
  mountViewers(app, services);
  mountAudit(app, services);
}

function mountInventory(app: App, services: Services): void {
  mountTenants(app, services);
  mountSites(app, services);
  mountCredentials(app, services);
  mountCredentialStates(app, services);
  mountDevices(app, services);
  mountDeviceChanges(app, services);
  mountTags(app, services);
  mountTagRules(app, services);
  mountInventoryExport(app, services);
  mountImports(app, services);
  mountHostKeys(app, services);
  mountHostKeyLists(app, services);
}

function mountWork(app: App, services: Services): void {
  mountAgents(app, services);
  mountAgentIdentity(app, services);
  mountAgentProtocol(app, services);
  mountJobs(app, services);
  mountPolicies(app, services);
  mountQueue(app, services);
  mountLeases(app, services);
  mountChangeHints(app, services);
  mountBackups(app, services);
  mountQuarantine(app, services);
  mountSearch(app, services);
  mountTasks(app, services);
}

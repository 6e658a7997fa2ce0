import { z } from "zod";

/** Every permission an endpoint can ask for, and what it allows. Roles are made of these. */
export const PERMISSIONS = {
  "agents:read": "See agents, their state and their join tokens",
  "agents:write": "Make join tokens, approve and revoke agents",
  "archive:purge": "Delete archived devices for ever, with all their history",
  "audit:read": "Read the audit log",
  "backups:decide": "Accept or reject quarantined configurations",
  "backups:read": "Read redacted configurations, revisions and differences",
  "backups:read_exact": "Download exact configurations with the secrets in them",
  "backups:write": "Pin and comment revisions",
  "credentials:read": "See names and states of credentials, never their secrets",
  "credentials:write": "Create, change and delete credentials",
  "devices:read": "See devices and their state",
  "devices:write": "Create, change and archive devices",
  "hints:write": "Say that devices have changed, which asks for backups of them",
  "host_keys:read": "See the host keys that devices have shown",
  "host_keys:write": "Accept and reject host keys",
  "jobs:read": "See jobs and their progress",
  "jobs:write": "Start, cancel and repeat jobs",
  "metrics:read": "Read metrics of sites and of the control plane",
  "policies:read": "See policies and what became of their runs",
  "policies:write": "Create, change, run and delete policies",
  "roles:read": "See roles and the permissions that they are made of",
  "roles:write": "Create, change and delete roles and the permissions that they are made of",
  "settings:read": "See the settings of the installation",
  "settings:write": "Change the settings of the installation",
  "sites:read": "See sites and their settings",
  "sites:write": "Create, change and delete sites",
  "tags:read": "See tags and the rules that give them",
  "tags:write": "Rename and delete tags, and make rules that give them",
  "tasks:read": "See long work of the control plane and its progress",
  "tasks:write": "Order and cancel long work of the control plane",
  "tenants:read": "See tenants",
  "tenants:write": "Create, change and delete tenants",
  "users:read": "See users",
  "users:write": "Create, change, disable and delete users, and give them roles",
} as const satisfies Record<string, string>;

export type Permission = keyof typeof PERMISSIONS;
export const Permission = z.enum(Object.keys(PERMISSIONS) as [Permission, ...Permission[]])
  .meta({ id: "Permission" });

/** Those that a token may hold for single sites: all that they allow is about devices of a site. */
export const SITE_PERMISSIONS: readonly Permission[] = [
  "backups:read",
  "devices:read",
  "hints:write",
  "jobs:read",
  "jobs:write",
  "metrics:read",
  "policies:read",
  "policies:write",
  "sites:read",
];

/**
 * How far a permission can be narrowed: `site` to single sites or whole tenants; `tenant` to whole tenants only, because
 * what it changes is shared by their sites; `none` not at all, because what it is about belongs to no site.
 */
export const REACHES = {
  "agents:read": "site",
  "agents:write": "tenant",
  "archive:purge": "site",
  "audit:read": "site",
  "backups:decide": "site",
  "backups:read": "site",
  "backups:read_exact": "site",
  "backups:write": "site",
  "credentials:read": "site",
  "credentials:write": "tenant",
  "devices:read": "site",
  "devices:write": "site",
  "hints:write": "site",
  "host_keys:read": "site",
  "host_keys:write": "site",
  "jobs:read": "site",
  "jobs:write": "site",
  "metrics:read": "site",
  "policies:read": "site",
  "policies:write": "site",
  "roles:read": "none",
  "roles:write": "none",
  "settings:read": "none",
  "settings:write": "none",
  "sites:read": "site",
  "sites:write": "site",
  "tags:read": "site",
  "tags:write": "tenant",
  "tasks:read": "none",
  "tasks:write": "none",
  "tenants:read": "site",
  "tenants:write": "none",
  "users:read": "none",
  "users:write": "none",
} as const satisfies Record<Permission, "site" | "tenant" | "none">;

const NOUNS = [...new Set(Permission.options.map((name) => name.split(":")[0] ?? name))];

/** What a row of permissions allows: one permission, all of a noun (`backups:*`), or all there are (`*`). */
export const Action = z.enum(["*", ...NOUNS.map((noun) => `${noun}:*`), ...Permission.options])
  .meta({ id: "Action", example: "backups:*" });
export type Action = z.infer<typeof Action>;

/** The permissions that an action stands for; none for one that an older release knew. */
export function permissionsOf(action: string): readonly Permission[] {
  if (action === "*") return Permission.options;
  const prefix = action.endsWith(":*") ? action.slice(0, -1) : undefined;
  return Permission.options.filter((name) =>
    prefix === undefined ? name === action : name.startsWith(prefix)
  );
}

/**
 * What somebody who is logged in has to do before anything else: to enter the code of their `second_factor`, to choose a
 * `new_password` that nobody else knows, or to enrol a second factor because the installation demands one.
 */
export const Due = z.enum(["second_factor", "new_password", "second_factor_enrolment"]).meta({
  id: "Due",
});
export type Due = z.infer<typeof Due>;

/**
 * Who may call an endpoint: everybody (`public`), any person who is logged in or holds an API token (`session`),
 * an enrolled agent (`agent`), or a person with the named permission.
 */
export type Access = Permission | "public" | "session" | "agent";

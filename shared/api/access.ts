import { z } from "zod";

/** Every permission an endpoint can ask for, and what it allows. Roles are made of these. */
export const PERMISSIONS = {
  "agents:read": "See agents, their state and their join tokens",
  "agents:write": "Make join tokens, approve and revoke agents",
  "audit:read": "Read the audit log",
  "backups:decide": "Accept or reject quarantined configurations",
  "backups:read": "Read redacted configurations, revisions and differences",
  "backups:read_exact": "Download exact configurations with the secrets in them",
  "credentials:read": "See names and states of credentials, never their secrets",
  "credentials:write": "Create, change and delete credentials",
  "devices:read": "See devices and their state",
  "devices:write": "Create, change and archive devices",
  "hints:write": "Say that devices have changed, which asks for backups of them",
  "host_keys:read": "See the host keys that devices have shown",
  "host_keys:write": "Accept and reject host keys",
  "jobs:read": "See jobs and their progress",
  "jobs:write": "Start, cancel and repeat jobs",
  "policies:read": "See policies and what became of their runs",
  "policies:write": "Create, change, run and delete policies",
  "settings:read": "See the settings of the installation",
  "settings:write": "Change the settings of the installation",
  "sites:read": "See sites and their settings",
  "sites:write": "Create, change and delete sites",
  "tasks:read": "See long work of the control plane and its progress",
  "tasks:write": "Cancel long work of the control plane",
  "tenants:read": "See tenants",
  "tenants:write": "Create, change and delete tenants",
  "users:read": "See users",
  "users:write": "Create, change and disable users",
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
  "policies:read",
  "policies:write",
  "sites:read",
];

/**
 * Who may call an endpoint: everybody (`public`), any person who is logged in or holds an API token (`session`),
 * an enrolled agent (`agent`), or a person with the named permission.
 */
export type Access = Permission | "public" | "session" | "agent";

import { z } from "zod";
import { endpoint } from "../endpoint.ts";
import { AgentId, CredentialId, DeviceId, Instant, SiteId, TenantId } from "../ids.ts";
import { FailureCode } from "../jobs/failure.ts";
import { LocalCredentialName } from "../jobs/lease.ts";
import { describePrivateKey } from "../private_key.ts";
import { BROKEN_TEXT, isWhole, listOf, Name, Page } from "./page.ts";

function oneLine(max: number) {
  return z.string().min(1).max(max).regex(/^[^\0\r\n]+$/, "must be one line without NUL")
    .refine(isWhole, BROKEN_TEXT);
}

/** Anything a device may take as a password; one line, because it is typed. */
export const Secret = oneLine(1_000).meta({ format: "password", example: "what the device knows" });

const PrivateKey = z.string().max(20_000).superRefine((pem, context) => {
  const described = describePrivateKey(pem);
  if (!described.usable) context.addIssue({ code: "custom", message: described.reason });
}).meta({ format: "password", example: "-----BEGIN OPENSSH PRIVATE KEY-----\n…" });

const Secrets = {
  password: Secret.optional(),
  privateKey: PrivateKey.optional(),
  passphrase: Secret.optional(),
  enableSecret: Secret.optional(),
};

interface GivenSecrets {
  readonly password?: string | undefined;
  readonly privateKey?: string | undefined;
  readonly passphrase?: string | undefined;
  readonly enableSecret?: string | undefined;
}

/** New secrets replace all old ones, so what is given must be enough to log in with. */
function checkNewSecrets(given: GivenSecrets, context: z.core.$RefinementCtx): void {
  checkSecrets(given, context);
  const changes = given.enableSecret !== undefined || given.passphrase !== undefined;
  if (changes && given.password === undefined && given.privateKey === undefined) {
    const message = "new secrets replace all old ones: give the password or privateKey too";
    context.addIssue({ code: "custom", path: ["password"], message, input: undefined });
  }
}

function checkSecrets(given: GivenSecrets, context: z.core.$RefinementCtx): void {
  const refuse = (path: string, message: string) =>
    context.addIssue({ code: "custom", path: [path], message, input: undefined });
  if (given.passphrase !== undefined && given.privateKey === undefined) {
    refuse("passphrase", "comes with a privateKey only");
  }
  const key = given.privateKey === undefined ? undefined : describePrivateKey(given.privateKey);
  if (key?.usable && key.encrypted && given.passphrase === undefined) {
    refuse("passphrase", "the private key is encrypted: give its passphrase");
  }
}

/**
 * What is known of a version: `new` (nothing yet), `trusted` (it worked), `suspect` (refused since; one session at a time
 * until one succeeds), `quarantined` (not used until it is released, or new secrets are saved).
 */
export const CredentialState = z.enum(["new", "trusted", "suspect", "quarantined"])
  .meta({ id: "CredentialState" });
export type CredentialState = z.infer<typeof CredentialState>;

export const CredentialKind = z.enum(["stored", "agent_local"]).meta({ id: "CredentialKind" });
export type CredentialKind = z.infer<typeof CredentialKind>;

/** A credential; its secrets go in and never come out. Counts are of the devices that the caller may see. */
export const Credential = z.object({
  id: CredentialId,
  tenantId: TenantId,
  name: z.string(),
  /** `stored`: sealed here; `agent_local`: the agents hold it, this installation never does. */
  kind: CredentialKind,
  /** Empty for an `agent_local` one. */
  username: z.string(),
  /** Under which name agents look an `agent_local` one up. */
  localName: z.string().nullable(),
  version: z.int(),
  hasPassword: z.boolean(),
  hasPrivateKey: z.boolean(),
  hasEnableSecret: z.boolean(),
  state: CredentialState
    .describe("Only of credentials in this state"),
  stateSince: Instant,
  /** How many sessions may use it at the same time, in the whole system; null: no limit. */
  mostSessions: z.int().nullable(),
  /** To within a minute. */
  lastSuccessAt: Instant.nullable(),
  lastRefusedAt: Instant.nullable(),
  /** How many devices refused it since the last success. */
  refusing: z.int(),
  /** For how many devices alone it is quarantined. */
  quarantinedDevices: z.int(),
  /** How many devices in use have it. */
  devices: z.int(),
  /** How many archived ones, which would need it again after their restoration. */
  archivedDevices: z.int(),
  createdAt: Instant,
  updatedAt: Instant,
}).meta({ id: "Credential" });
export type Credential = z.infer<typeof Credential>;

const CredentialParams = z.strictObject({ credentialId: CredentialId });
/** As it is typed, with its spaces; devices know the difference. */
export const Username = oneLine(200).regex(/\S/, "must not be blank").meta({ example: "backup" });

export const listCredentials = endpoint({
  method: "GET",
  path: "/api/v1/credentials",
  access: "credentials:read",
  summary: "List credentials, without their secrets",
  query: Page,
  reply: listOf(Credential),
});

export const createCredential = endpoint({
  method: "POST",
  path: "/api/v1/credentials",
  access: "credentials:write",
  summary: "Create a credential: a password, a private key, or both, and an enable secret",
  body: z.strictObject({
    name: Name,
    /** Left out where there is only one tenant. */
    tenantId: TenantId.optional(),
    username: Username,
    ...Secrets,
  }).superRefine((body, context) => {
    checkSecrets(body, context);
    if (body.password === undefined && body.privateKey === undefined) {
      context.addIssue({
        code: "custom",
        path: ["password"],
        message: "give a password or a privateKey",
      });
    }
  }),
  reply: Credential,
  status: 201,
});

export const createLocalCredential = endpoint({
  method: "POST",
  path: "/api/v1/agent-local-credentials",
  access: "credentials:write",
  summary: "Create a credential whose secret only the agents hold, in a file of their own",
  body: z.strictObject({
    name: Name,
    /** Left out where there is only one tenant. */
    tenantId: TenantId.optional(),
    /** Under which name the agents look it up in local_credentials.json. */
    localName: LocalCredentialName,
  }),
  reply: Credential,
  status: 201,
});

export const getCredential = endpoint({
  method: "GET",
  path: "/api/v1/credentials/:credentialId",
  access: "credentials:read",
  summary: "Read one credential, without its secrets",
  params: CredentialParams,
  reply: Credential,
});

export const updateCredential = endpoint({
  method: "PATCH",
  path: "/api/v1/credentials/:credentialId",
  access: "credentials:write",
  summary: "Change a credential; new secrets replace all old ones and make a new version",
  description:
    "An agent_local one has a name and a localName; another localName is a new version of it.",
  params: CredentialParams,
  body: z.strictObject({
    name: Name.optional(),
    username: Username.optional(),
    localName: LocalCredentialName.optional(),
    ...Secrets,
  }).superRefine(checkNewSecrets),
  reply: Credential,
});

export const deleteCredential = endpoint({
  method: "DELETE",
  path: "/api/v1/credentials/:credentialId",
  access: "credentials:write",
  summary: "Delete a credential that no device uses",
  params: CredentialParams,
});

export const releaseCredential = endpoint({
  method: "POST",
  path: "/api/v1/credentials/:credentialId/release",
  access: "credentials:write",
  summary: "Release a quarantined credential: one session may try it, more when that succeeds",
  params: CredentialParams,
  reply: Credential,
});

export const releaseCredentialDevice = endpoint({
  method: "POST",
  path: "/api/v1/credentials/:credentialId/devices/:deviceId/release",
  access: "credentials:write",
  summary: "Release a credential for one device that it was quarantined for",
  params: z.strictObject({ credentialId: CredentialId, deviceId: DeviceId }),
});

/** One version of a credential. The current one is used; leases of earlier ones may still run. */
export const CredentialVersion = z.object({
  version: z.int(),
  current: z.boolean(),
  state: CredentialState,
  stateSince: Instant,
  mostSessions: z.int().nullable(),
  lastSuccessAt: Instant.nullable(),
  lastRefusedAt: Instant.nullable(),
  refusing: z.int(),
  createdAt: Instant,
}).meta({ id: "CredentialVersion" });

export const listCredentialVersions = endpoint({
  method: "GET",
  path: "/api/v1/credentials/:credentialId/versions",
  access: "credentials:read",
  summary: "List the versions of a credential and their states, newest first",
  params: CredentialParams,
  query: Page,
  reply: listOf(CredentialVersion),
});

/** A device that uses a credential, and how the current version fares there. */
export const CredentialUse = z.object({
  deviceId: DeviceId,
  siteId: SiteId,
  name: z.string(),
  archived: z.boolean(),
  /** Since its own last success. */
  refusals: z.int(),
  failureCode: FailureCode.nullable(),
  firstRefusedAt: Instant.nullable(),
  lastRefusedAt: Instant.nullable(),
  quarantinedAt: Instant.nullable(),
}).meta({ id: "CredentialUse" });

export const listCredentialDevices = endpoint({
  method: "GET",
  path: "/api/v1/credentials/:credentialId/devices",
  access: "credentials:read",
  summary: "List the devices that use a credential, and those that refuse it",
  params: CredentialParams,
  query: z.strictObject({
    ...Page.shape,
    /** Only those that refuse it, or only those that it is quarantined for. */
    state: z.enum(["refusing", "quarantined"]).optional(),
  }),
  reply: listOf(CredentialUse),
});

/** An agent that was given a version of a credential for devices of a site. */
export const CredentialHolder = z.object({
  credentialId: CredentialId,
  version: z.int(),
  agentId: AgentId,
  agentName: z.string(),
  agentStatus: z.string(),
  siteId: SiteId,
  /** Of the key that the agent had then. */
  thumbprint: z.string(),
  deliveries: z.int(),
  firstAt: Instant,
  lastAt: Instant,
}).meta({ id: "CredentialHolder" });
export type CredentialHolder = z.infer<typeof CredentialHolder>;

export const listCredentialDeliveries = endpoint({
  method: "GET",
  path: "/api/v1/credentials/:credentialId/deliveries",
  access: "credentials:read",
  summary: "List which agents ever held a credential, by version",
  params: CredentialParams,
  query: Page,
  reply: listOf(CredentialHolder),
});

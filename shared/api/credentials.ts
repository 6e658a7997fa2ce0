import { z } from "zod";
import { endpoint } from "../endpoint.ts";
import { CredentialId, Instant, TenantId } from "../ids.ts";
import { describePrivateKey } from "../private_key.ts";
import { BROKEN_TEXT, isWhole, listOf, Name, Page } from "./page.ts";

function oneLine(max: number) {
  return z.string().min(1).max(max).regex(/^[^\0\r\n]+$/, "must be one line without NUL")
    .refine(isWhole, BROKEN_TEXT);
}

/** Anything a device may take as a password; one line, because it is typed. */
const Secret = oneLine(1_000).meta({ format: "password", example: "what the device knows" });

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

/** A credential; its secrets go in and never come out. */
export const Credential = z.object({
  id: CredentialId,
  tenantId: TenantId,
  name: z.string(),
  username: z.string(),
  version: z.int(),
  hasPassword: z.boolean(),
  hasPrivateKey: z.boolean(),
  hasEnableSecret: z.boolean(),
  state: CredentialState,
  /** How many devices in use have it. */
  devices: z.int(),
  /** How many archived ones, which would need it again after their restoration. */
  archivedDevices: z.int(),
  createdAt: Instant,
  updatedAt: Instant,
}).meta({ id: "Credential" });
export type Credential = z.infer<typeof Credential>;

const CredentialParams = z.strictObject({ credentialId: CredentialId });
const Username = oneLine(200).meta({ example: "backup" });

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
  params: CredentialParams,
  body: z.strictObject({ name: Name.optional(), username: Username.optional(), ...Secrets })
    .superRefine(checkNewSecrets),
  reply: Credential,
});

export const deleteCredential = endpoint({
  method: "DELETE",
  path: "/api/v1/credentials/:credentialId",
  access: "credentials:write",
  summary: "Delete a credential that no device uses",
  params: CredentialParams,
});

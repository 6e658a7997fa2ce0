import { z } from "zod";

/**
 * A branded UUID: `DeviceId` is not assignable to `SiteId`, though both are UUID strings on the wire. Both cases are
 * read (RFC 9562) and one is kept: PostgreSQL compares values, but sealed contexts, signed claims and audit rows compare
 * texts.
 */
export function id<const Name extends string>(name: Name) {
  return z.uuid().overwrite((value) => value.toLowerCase()).brand<Name>()
    .meta({ id: name, description: `UUID of a ${name.slice(0, -2)}` });
}

/** A managed service provider's customer; one exists from the start. */
export const TenantId = id("TenantId");
export type TenantId = z.infer<typeof TenantId>;
/** A place with devices: the zone in which an address is unique. */
export const SiteId = id("SiteId");
export type SiteId = z.infer<typeof SiteId>;
export const DeviceId = id("DeviceId");
export type DeviceId = z.infer<typeof DeviceId>;
export const CredentialId = id("CredentialId");
export type CredentialId = z.infer<typeof CredentialId>;
export const HostKeyId = id("HostKeyId");
export type HostKeyId = z.infer<typeof HostKeyId>;
/** A time in which changed host keys are expected. */
export const HostKeyWindowId = id("HostKeyWindowId");
export type HostKeyWindowId = z.infer<typeof HostKeyWindowId>;
export const AgentId = id("AgentId");
export type AgentId = z.infer<typeof AgentId>;
export const JoinTokenId = id("JoinTokenId");
export type JoinTokenId = z.infer<typeof JoinTokenId>;
/** Made anew at every start of an agent process; a new one frees the leases of the old. */
export const BootId = id("BootId");
export type BootId = z.infer<typeof BootId>;
export const ClaimId = id("ClaimId");
export type ClaimId = z.infer<typeof ClaimId>;
export const JobId = id("JobId");
export type JobId = z.infer<typeof JobId>;
export const LeaseId = id("LeaseId");
export type LeaseId = z.infer<typeof LeaseId>;
export const BackupId = id("BackupId");
export type BackupId = z.infer<typeof BackupId>;
export const RevisionId = id("RevisionId");
export type RevisionId = z.infer<typeof RevisionId>;
export const PolicyId = id("PolicyId");
export type PolicyId = z.infer<typeof PolicyId>;
/** One run of a policy. */
export const OccurrenceId = id("OccurrenceId");
export type OccurrenceId = z.infer<typeof OccurrenceId>;
/** Long work of the control plane itself. */
export const TaskId = id("TaskId");
export type TaskId = z.infer<typeof TaskId>;
/** A file of devices that was read, and what became of it. */
export const ImportId = id("ImportId");
export type ImportId = z.infer<typeof ImportId>;
export const UserId = id("UserId");
export type UserId = z.infer<typeof UserId>;
export const RoleId = id("RoleId");
export type RoleId = z.infer<typeof RoleId>;
/** A row of permissions, of which roles are made. */
export const PermissionId = id("PermissionId");
export type PermissionId = z.infer<typeof PermissionId>;
export const ApiTokenId = id("ApiTokenId");
export type ApiTokenId = z.infer<typeof ApiTokenId>;

/** Lower-case hexadecimal SHA-256. */
export const Sha256 = z.string().regex(/^[0-9a-f]{64}$/, "must be 64 lower-case hexadecimal digits")
  .brand<"Sha256">().meta({ id: "Sha256", example: "0123456789abcdef".repeat(4) });
export type Sha256 = z.infer<typeof Sha256>;

/** The largest number of a database column of type `integer`. */
export const MAX_INTEGER = 2_147_483_647;

/** An instant in UTC, RFC 3339. */
export const Instant = z.iso.datetime({ offset: true }).meta({ id: "Instant" });
export type Instant = z.infer<typeof Instant>;

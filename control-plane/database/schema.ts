/**
 * The tables as kysely sees them: written by hand, compared with the catalogue by a test. Times are
 * `Temporal.Instant` (microseconds survive), ids are branded, `jsonb` is parsed by whoever reads it.
 */
import type { Generated } from "kysely";
import type { ChangeReport } from "@rookery/shared/api/change_hints.ts";
import type { CredentialState } from "@rookery/shared/api/credentials.ts";
import type { DeviceMarkId, DeviceMarkKind } from "@rookery/shared/api/device_changes.ts";
import type {
  OccurrenceDecision,
  OccurrenceTrigger,
  SkipReason,
} from "@rookery/shared/api/policies.ts";
import type { TagRuleId } from "@rookery/shared/api/tag_rules.ts";
import type { FailureCode } from "@rookery/shared/jobs/failure.ts";
import type {
  AgentId,
  ApiTokenId,
  BackupId,
  BootId,
  ClaimId,
  CredentialId,
  DeviceId,
  HostKeyId,
  HostKeyWindowId,
  ImportId,
  JobId,
  JoinTokenId,
  LeaseId,
  OccurrenceId,
  PermissionId,
  PolicyId,
  RevisionId,
  RoleId,
  SiteId,
  TaskId,
  TenantId,
  UserId,
} from "@rookery/shared/ids.ts";

export interface InstallationTable {
  id: string;
  singleton: Generated<boolean>;
  incarnation: Generated<number>;
  keyFingerprints: unknown | null;
  keyGeneration: Generated<number>;
  pendingKeys: unknown | null;
  createdAt: Generated<Temporal.Instant>;
  maintenance: Generated<boolean>;
  maxQueued: Generated<number>;
}

export interface SettingsTable {
  name: string;
  value: unknown;
  updatedAt: Generated<Temporal.Instant>;
}

export interface TicksTable {
  name: string;
  lastAt: Generated<Temporal.Instant>;
}

export interface UsersTable {
  id: UserId;
  username: string;
  displayName: Generated<string>;
  passwordHash: string | null;
  administrator: Generated<boolean>;
  disabledAt: Temporal.Instant | null;
  passwordChangedAt: Generated<Temporal.Instant>;
  createdAt: Generated<Temporal.Instant>;
  updatedAt: Generated<Temporal.Instant>;
  mustChangePassword: Generated<boolean>;
  email: string | null;
}

export interface SessionsTable {
  id: string;
  userId: UserId;
  secretSha256: string;
  userAgent: Generated<string>;
  address: Generated<string>;
  createdAt: Generated<Temporal.Instant>;
  lastUsedAt: Generated<Temporal.Instant>;
  expiresAt: Temporal.Instant;
  awaitsCode: Generated<boolean>;
}

export interface TotpFactorsTable {
  userId: UserId;
  confirmedAt: Temporal.Instant | null;
  lastStep: Generated<string>;
  createdAt: Generated<Temporal.Instant>;
  kekId: string;
  wrappedKey: Uint8Array;
  nonce: Uint8Array;
  ciphertext: Uint8Array;
}

export interface RecoveryCodesTable {
  userId: UserId;
  codeSha256: string;
}

export interface OidcIdentitiesTable {
  issuer: string;
  subject: string;
  userId: UserId;
  createdAt: Generated<Temporal.Instant>;
}

export interface OidcClientsTable {
  issuer: string;
  clientId: string;
  kekId: string;
  wrappedKey: Uint8Array;
  nonce: Uint8Array;
  ciphertext: Uint8Array;
}

export interface LoginFailuresTable {
  counter: string;
  failures: number;
  lastFailedAt: Generated<Temporal.Instant>;
}

export interface KnownBrowsersTable {
  secretSha256: string;
  userId: UserId;
  createdAt: Generated<Temporal.Instant>;
  lastUsedAt: Generated<Temporal.Instant>;
}

export interface ApiTokensTable {
  id: ApiTokenId;
  userId: UserId;
  name: string;
  secretSha256: string;
  createdAt: Generated<Temporal.Instant>;
  lastUsedAt: Temporal.Instant | null;
  expiresAt: Temporal.Instant | null;
  revokedAt: Temporal.Instant | null;
  permissions: string[] | null;
  siteIds: string[] | null;
}

export interface SetupLinksTable {
  id: string;
  purpose: "setup" | "recovery";
  userId: UserId | null;
  secretSha256: string;
  createdAt: Generated<Temporal.Instant>;
  expiresAt: Temporal.Instant;
  usedAt: Temporal.Instant | null;
}

export interface RolesTable {
  id: RoleId;
  name: string;
  description: Generated<string>;
  builtIn: Generated<boolean>;
  createdAt: Generated<Temporal.Instant>;
}

export interface PermissionsTable {
  id: PermissionId;
  name: string;
  description: Generated<string>;
  actions: string[];
  builtIn: Generated<boolean>;
  createdAt: Generated<Temporal.Instant>;
  tenantIds: string[] | null;
  siteIds: string[] | null;
}

export interface RolePermissionsTable {
  roleId: RoleId;
  permissionId: PermissionId;
}

export interface UserRolesTable {
  userId: UserId;
  roleId: RoleId;
}

export interface AuditRowsTable {
  id: string;
  xid: Generated<string>;
  at: Generated<Temporal.Instant>;
  actorKind: "user" | "api_token" | "agent" | "system";
  actorId: string | null;
  actorName: Generated<string>;
  action: string;
  targetKind: Generated<string>;
  targetId: Generated<string>;
  siteId: SiteId | null;
  address: Generated<string>;
  requestId: Generated<string>;
  detail: Generated<unknown>;
  incarnation: Generated<number>;
}

export interface AuditSegmentsTable {
  number: string;
  rowCount: number;
  lastIncarnation: number;
  lastXid: string;
  lastId: string;
  newestAt: Temporal.Instant;
  sealedAt: Generated<Temporal.Instant>;
  signature: string;
  rowDigests: Uint8Array;
}

export interface AuditFloorTable {
  singleton: Generated<boolean>;
  signature: string;
}

export interface TenantsTable {
  id: TenantId;
  name: string;
  createdAt: Generated<Temporal.Instant>;
}

export interface SitesTable {
  id: SiteId;
  tenantId: TenantId;
  name: string;
  timeZone: Generated<string>;
  hostKeyPolicy: Generated<"first_use" | "strict">;
  maxLive: Generated<number>;
  maxQueued: Generated<number>;
  leaseTtlSeconds: Generated<number>;
  shrinkPercent: Generated<number>;
  paused: Generated<boolean>;
  queueVersion: Generated<number>;
  createdAt: Generated<Temporal.Instant>;
  updatedAt: Generated<Temporal.Instant>;
  liveLimit: number | null;
  liveLimitAt: Temporal.Instant | null;
  startsPerMinute: number | null;
  startsLeft: Generated<number>;
  startsAt: Generated<Temporal.Instant>;
}

export interface CredentialsTable {
  id: CredentialId;
  tenantId: TenantId;
  name: string;
  username: string;
  currentVersion: Generated<number>;
  createdAt: Generated<Temporal.Instant>;
  updatedAt: Generated<Temporal.Instant>;
  kind: Generated<"stored" | "agent_local">;
  localName: string | null;
}

export interface CredentialVersionsTable {
  credentialId: CredentialId;
  version: number;
  kekId: string;
  wrappedKey: Uint8Array;
  nonce: Uint8Array;
  ciphertext: Uint8Array;
  hasPassword: boolean;
  hasPrivateKey: boolean;
  hasEnableSecret: boolean;
  state: Generated<CredentialState>;
  createdAt: Generated<Temporal.Instant>;
  stateSince: Generated<Temporal.Instant>;
  ramp: Generated<number | null>;
  lastSuccessAt: Temporal.Instant | null;
  lastRefusedAt: Temporal.Instant | null;
  refusing: Generated<string[]>;
}

export interface CredentialRefusalsTable {
  credentialId: CredentialId;
  version: number;
  deviceId: DeviceId;
  refusals: number;
  failureCode: FailureCode;
  firstRefusedAt: Temporal.Instant;
  lastRefusedAt: Temporal.Instant;
  quarantinedAt: Temporal.Instant | null;
}

export interface DevicesTable {
  id: DeviceId;
  siteId: SiteId;
  name: string;
  host: string;
  port: Generated<number>;
  platform: string;
  credentialId: CredentialId | null;
  legacyAlgorithms: Generated<boolean>;
  connectSeconds: Generated<number>;
  idleSeconds: Generated<number>;
  totalSeconds: Generated<number>;
  maxBytes: Generated<number>;
  createdAt: Generated<Temporal.Instant>;
  updatedAt: Generated<Temporal.Instant>;
  archivedAt: Temporal.Instant | null;
  windows: unknown | null;
  notes: Generated<string>;
  owner: Generated<string>;
}

export interface ConnectTimeoutsTable {
  siteId: SiteId;
  deviceId: DeviceId;
  at: Temporal.Instant;
}

export interface TagsTable {
  id: string;
  tenantId: TenantId;
  name: string;
  createdAt: Generated<Temporal.Instant>;
}

export interface DeviceTagsTable {
  deviceId: DeviceId;
  tagId: string;
}

export interface DeviceMarksTable {
  id: DeviceMarkId;
  deviceId: DeviceId;
  kind: DeviceMarkKind;
  at: Generated<Temporal.Instant>;
  markedBy: UserId | null;
  fromSiteId: SiteId | null;
  serialNumber: string | null;
  fingerprint: string | null;
}

export interface DeviceFactsTable {
  deviceId: DeviceId;
  model: string | null;
  serialNumber: string | null;
  osVersion: string | null;
}

export interface TagRulesTable {
  id: TagRuleId;
  tenantId: TenantId;
  tagId: string;
  name: string | null;
  address: string | null;
  platform: string | null;
  model: string | null;
  createdAt: Generated<Temporal.Instant>;
  updatedAt: Generated<Temporal.Instant>;
}

export interface HostKeysTable {
  id: HostKeyId;
  siteId: SiteId;
  deviceId: DeviceId;
  keyType: string;
  fingerprint: string;
  state: "accepted" | "pending" | "rejected";
  source: "first_use" | "reported" | "administrator" | "known_hosts" | "window";
  firstSeenAt: Generated<Temporal.Instant>;
  lastSeenAt: Generated<Temporal.Instant>;
  decidedAt: Temporal.Instant | null;
  decidedBy: string | null;
}

export interface AgentsTable {
  id: AgentId;
  tenantId: TenantId;
  name: string;
  status: Generated<"pending" | "active" | "locked" | "revoked">;
  signJwk: unknown;
  sealJwk: unknown;
  thumbprint: string;
  sessionSequence: Generated<number>;
  version: Generated<string>;
  drivers: Generated<unknown>;
  enrolledAt: Generated<Temporal.Instant>;
  revokedAt: Temporal.Instant | null;
  trustedBootId: BootId | null;
  rotationRequestedAt: Temporal.Instant | null;
  tooOldSince: Temporal.Instant | null;
  kinds: Generated<string[]>;
}

export interface AgentBootsTable {
  agentId: AgentId;
  bootId: BootId;
  sequence: number;
  thumbprint: string;
  address: Generated<string>;
  firstAt: Generated<Temporal.Instant>;
  lastAt: Generated<Temporal.Instant>;
  replacedAt: Temporal.Instant | null;
  admitted: Generated<boolean>;
  refusedAt: Temporal.Instant | null;
}

export interface AgentKeysTable {
  thumbprint: string;
  agentId: AgentId;
  signJwk: unknown;
  sealJwk: unknown;
  state: "next" | "current" | "retired" | "dead";
  addedAt: Generated<Temporal.Instant>;
  retiredAt: Temporal.Instant | null;
}

export interface UsedProofsTable {
  thumbprint: string;
  jti: string;
  usedAt: Generated<Temporal.Instant>;
}

export interface AgentSitesTable {
  agentId: AgentId;
  siteId: SiteId;
}

export interface AgentSessionsTable {
  agentId: AgentId;
  bootId: BootId;
  capacity: number;
  ttlSeconds: number;
  openedAt: Generated<Temporal.Instant>;
  seenAt: Generated<Temporal.Instant>;
  expiresAt: Temporal.Instant;
}

export interface JoinTokensTable {
  id: JoinTokenId;
  tenantId: TenantId;
  secretSha256: string;
  agentName: string;
  siteIds: string[];
  createdBy: string | null;
  createdAt: Generated<Temporal.Instant>;
  expiresAt: Temporal.Instant;
  usedAt: Temporal.Instant | null;
  usedByThumbprint: string | null;
  agentId: AgentId | null;
  requireApproval: Generated<boolean>;
  replacesAgentId: AgentId | null;
}

export interface SecretDeliveriesTable {
  id: string;
  siteId: SiteId;
  credentialId: CredentialId;
  version: number;
  agentId: AgentId;
  thumbprint: string;
  leaseId: LeaseId;
  at: Generated<Temporal.Instant>;
}

export interface CredentialHoldersTable {
  credentialId: CredentialId;
  agentId: AgentId;
  version: number;
  siteId: SiteId;
  thumbprint: string;
  deliveries: Generated<string>;
  firstAt: Generated<Temporal.Instant>;
  lastAt: Generated<Temporal.Instant>;
}

export interface HostKeyWindowsTable {
  id: HostKeyWindowId;
  siteId: SiteId;
  deviceId: DeviceId | null;
  openedAt: Generated<Temporal.Instant>;
  closesAt: Temporal.Instant;
  closedAt: Temporal.Instant | null;
  createdBy: string | null;
}

export interface HostKeyWindowUsesTable {
  windowId: HostKeyWindowId;
  deviceId: DeviceId;
  hostKeyId: HostKeyId;
  usedAt: Generated<Temporal.Instant>;
}

export interface JobsTable {
  siteId: SiteId;
  id: JobId;
  deviceId: DeviceId;
  kind: string;
  payload: unknown;
  payloadKey: Generated<string>;
  priority: Generated<number>;
  urgency: Generated<"interactive" | "normal" | "bulk">;
  policyId: string | null;
  occurrenceAt: Temporal.Instant | null;
  parentId: string | null;
  requestedBy: string | null;
  dueAt: Temporal.Instant;
  createdAt: Generated<Temporal.Instant>;
  expiresAt: Temporal.Instant | null;
  totalSeconds: number | null;
  cause: unknown | null;
}

export interface ChangeHintsTable {
  siteId: SiteId;
  deviceId: DeviceId;
  firstAt: Temporal.Instant;
  lastAt: Temporal.Instant;
  dueAt: Temporal.Instant;
  hints: number;
  reports: ChangeReport[];
}

export interface OpenJobsTable {
  siteId: SiteId;
  deviceId: DeviceId;
  kind: string;
  payloadKey: string;
  jobId: JobId;
  policyId: PolicyId | null;
}

export interface ReadyTable {
  siteId: SiteId;
  rank: Temporal.Instant;
  jobId: JobId;
  deviceId: DeviceId;
  kind: string;
  dueAt: Temporal.Instant;
  offsetSeconds: number;
  epoch: Generated<number>;
  fails: Generated<number>;
  sessionLosses: Generated<number>;
  lastFailure: FailureCode | null;
  lateAgentId: AgentId | null;
  lateFails: number | null;
  credentialId: CredentialId | null;
  logsIn: Generated<boolean>;
  expiresAt: Temporal.Instant | null;
}

export interface LeasesTable {
  siteId: SiteId;
  deviceId: DeviceId;
  jobId: JobId;
  id: LeaseId;
  kind: string;
  epoch: number;
  agentId: AgentId;
  bootId: BootId;
  claimId: ClaimId;
  running: Generated<boolean>;
  cancelRequested: Generated<boolean>;
  grantedAt: Generated<Temporal.Instant>;
  offerUntil: Temporal.Instant;
  deadlineAt: Temporal.Instant;
  rank: Temporal.Instant;
  dueAt: Temporal.Instant;
  offsetSeconds: number;
  fails: number;
  sessionLosses: number;
  lastFailure: FailureCode | null;
  credentialId: CredentialId | null;
  credentialVersion: number | null;
  logsIn: Generated<boolean>;
  expiresAt: Temporal.Instant | null;
  startedAt: Temporal.Instant | null;
}

export interface GrantsTable {
  leaseId: LeaseId;
  siteId: SiteId;
  jobId: JobId;
  deviceId: DeviceId;
  agentId: AgentId;
  bootId: BootId;
  epoch: number;
  grantedAt: Generated<Temporal.Instant>;
  credentialId: CredentialId | null;
  credentialVersion: number | null;
}

export interface DoneTable {
  siteId: SiteId;
  jobId: JobId;
  deviceId: DeviceId;
  kind: string;
  epoch: number;
  agentId: AgentId | null;
  outcome: "completed" | "failed" | "cancelled" | "dead";
  failureCode: FailureCode | null;
  failureDetail: string | null;
  report: unknown | null;
  late: Generated<boolean>;
  endedAt: Generated<Temporal.Instant>;
  closedAt: Temporal.Instant | null;
  startedAt: Temporal.Instant | null;
}

export interface AttemptsTable {
  id: string;
  siteId: SiteId;
  jobId: JobId;
  deviceId: DeviceId;
  leaseId: LeaseId;
  epoch: number;
  agentId: AgentId;
  outcome: "completed" | "failed" | "cancelled" | "released" | "expired" | "lost" | "superseded";
  failureCode: FailureCode | null;
  failureDetail: string | null;
  answer: "accepted" | "accepted_late" | "superseded" | null;
  envelopeSha256: string | null;
  durationMs: number | null;
  grantedAt: Temporal.Instant;
  endedAt: Generated<Temporal.Instant>;
  startedAt: Temporal.Instant | null;
}

export interface JobLogTable {
  id: Generated<string>;
  siteId: SiteId;
  jobId: JobId;
  at: Generated<Temporal.Instant>;
  event: "raised" | "cancel_requested" | "progress";
  epoch: number;
  step: string | null;
  percent: number | null;
  /** `bigint`: comes as text. */
  bytes: string | null;
}

export interface OutboxTable {
  xid: Generated<string>;
  id: Generated<string>;
  at: Generated<Temporal.Instant>;
  noun: "job" | "task";
  change: string;
  siteId: SiteId | null;
  ids: string[];
  deviceIds: DeviceId[] | null;
  detail: unknown | null;
}

export interface OutboxFloorTable {
  singleton: Generated<boolean>;
  xid: Generated<string>;
}

export interface PoliciesTable {
  id: PolicyId;
  name: string;
  enabled: Generated<boolean>;
  kind: string;
  payload: unknown;
  schedule: unknown;
  selection: unknown;
  siteIds: SiteId[] | null;
  priority: Generated<number>;
  urgency: Generated<"normal" | "bulk">;
  jitterMinutes: Generated<number>;
  blackouts: Generated<unknown>;
  misfire: Generated<"skip" | "once">;
  startWithinMinutes: number | null;
  totalSeconds: number | null;
  nextAt: Temporal.Instant | null;
  createdBy: UserId | null;
  createdAt: Generated<Temporal.Instant>;
  updatedAt: Generated<Temporal.Instant>;
  deletedAt: Temporal.Instant | null;
}

export interface OccurrencesTable {
  id: OccurrenceId;
  policyId: PolicyId;
  key: string;
  at: Temporal.Instant;
  trigger: OccurrenceTrigger;
  decision: OccurrenceDecision | null;
  reason: SkipReason | null;
  jobs: Generated<number>;
  coalesced: Generated<number>;
  skipped: Generated<number>;
  dueAt: Temporal.Instant;
  jitterSeconds: Generated<number>;
  requestedBy: UserId | null;
  decidedAt: Temporal.Instant;
}

export interface OccurrenceSitesTable {
  siteId: SiteId;
  occurrenceId: OccurrenceId;
  policyId: PolicyId;
  deviceIds: DeviceId[] | null;
  afterDeviceId: DeviceId | null;
}

export interface TasksTable {
  id: TaskId;
  kind: string;
  state: Generated<"waiting" | "running" | "completed" | "failed" | "cancelled">;
  cursor: unknown | null;
  /** `bigint`: comes as text. */
  done: Generated<string>;
  total: string | null;
  error: string | null;
  failures: Generated<number>;
  fence: Generated<number>;
  leasedUntil: Generated<Temporal.Instant>;
  requestedBy: Generated<string>;
  createdAt: Generated<Temporal.Instant>;
  startedAt: Temporal.Instant | null;
  endedAt: Temporal.Instant | null;
}

export interface TaskLogTable {
  id: Generated<string>;
  taskId: TaskId;
  at: Generated<Temporal.Instant>;
  event: string;
  detail: string | null;
}

export interface ImportsTable {
  id: ImportId;
  tenantId: TenantId;
  format: string;
  siteIds: SiteId[];
  ignoredColumns: Generated<string[]>;
  createdBy: UserId;
  createdAt: Generated<Temporal.Instant>;
  applyTaskId: TaskId | null;
  undoTaskId: TaskId | null;
  newCredentials: Generated<unknown>;
  brake: string | null;
}

export interface ImportSecretsTable {
  importId: ImportId;
  credentialId: CredentialId;
  name: string;
  username: string;
  kekId: string;
  wrappedKey: Uint8Array;
  nonce: Uint8Array;
  ciphertext: Uint8Array;
  hasEnableSecret: Generated<boolean>;
}

export interface ImportRowsTable {
  importId: ImportId;
  number: number;
  siteId: SiteId | null;
  deviceId: DeviceId | null;
  name: string | null;
  host: string | null;
  action: "create" | "change" | "unchanged" | "refused";
  before: Generated<unknown>;
  after: Generated<unknown>;
  errors: Generated<unknown>;
  outcome: "applied" | "left" | "undone" | "kept" | null;
  outcomeDetail: string | null;
}

export interface BlobsTable {
  siteId: SiteId;
  sha256: string;
  bytes: number;
  kekId: string;
  wrappedKey: Uint8Array;
  nonce: Uint8Array;
  ciphertext: Uint8Array;
  createdAt: Generated<Temporal.Instant>;
  orphanedAt: Temporal.Instant | null;
}

export interface UploadsTable {
  leaseId: LeaseId;
  sha256: string;
  siteId: SiteId;
  receivedAt: Generated<Temporal.Instant>;
}

export interface UploadPartsTable {
  leaseId: LeaseId;
  sha256: string;
  uploadId: string;
  startAt: number;
  bytes: number;
  kekId: string;
  wrappedKey: Uint8Array;
  nonce: Uint8Array;
  ciphertext: Uint8Array;
  receivedAt: Generated<Temporal.Instant>;
}

export interface BackupsTable {
  id: BackupId;
  siteId: SiteId;
  deviceId: DeviceId;
  jobId: JobId;
  epoch: number;
  agentId: AgentId;
  status: "verified" | "quarantined" | "failed";
  failureCode: FailureCode | null;
  failureDetail: string | null;
  captures: Generated<unknown>;
  facts: Generated<unknown>;
  algorithms: unknown | null;
  late: Generated<boolean>;
  durationMs: number;
  receivedAt: Generated<Temporal.Instant>;
}

export interface RevisionsTable {
  id: RevisionId;
  siteId: SiteId;
  deviceId: DeviceId;
  capture: string;
  platform: string;
  number: number;
  state: "accepted" | "quarantined" | "rejected";
  rawSha256: string;
  normalisedSha256: string;
  normaliserVersion: number;
  grade: "marker" | "structure" | "two-read" | "prompt";
  bytes: number;
  lines: number;
  backupId: BackupId;
  firstSeenAt: Generated<Temporal.Instant>;
  lastSeenAt: Generated<Temporal.Instant>;
  decidedAt: Temporal.Instant | null;
  decidedBy: string | null;
  pinned: Generated<boolean>;
  comment: Generated<string>;
}

export interface CurrentTextsTable {
  deviceId: DeviceId;
  capture: string;
  siteId: SiteId;
  revisionId: RevisionId;
  text: string;
  redactedBy: string | null;
  searchable: Generated<boolean>;
}

export interface SearchLinesTable {
  id: string;
  digest: Uint8Array;
  line: string;
}

export interface SearchTextsTable {
  deviceId: DeviceId;
  capture: string;
  lineIds: string[] | null;
}

export interface DeviceStatusTable {
  deviceId: DeviceId;
  siteId: SiteId;
  lastAttemptAt: Temporal.Instant | null;
  lastOutcome: "verified" | "quarantined" | "failed" | null;
  lastVerifiedAt: Temporal.Instant | null;
  failureCode: FailureCode | null;
  failureDetail: string | null;
  failingSince: Temporal.Instant | null;
  failureStreak: Generated<number>;
  grade: string | null;
  revisionId: RevisionId | null;
  unsaved: boolean | null;
  facts: Generated<unknown>;
  algorithms: unknown | null;
}

/** Every table, by its name in SQL read through the camel-case plugin. */
export interface Database {
  installation: InstallationTable;
  settings: SettingsTable;
  ticks: TicksTable;
  users: UsersTable;
  sessions: SessionsTable;
  totpFactors: TotpFactorsTable;
  recoveryCodes: RecoveryCodesTable;
  oidcIdentities: OidcIdentitiesTable;
  oidcClients: OidcClientsTable;
  loginFailures: LoginFailuresTable;
  knownBrowsers: KnownBrowsersTable;
  apiTokens: ApiTokensTable;
  setupLinks: SetupLinksTable;
  roles: RolesTable;
  permissions: PermissionsTable;
  rolePermissions: RolePermissionsTable;
  userRoles: UserRolesTable;
  auditRows: AuditRowsTable;
  auditSegments: AuditSegmentsTable;
  auditFloor: AuditFloorTable;
  tenants: TenantsTable;
  sites: SitesTable;
  credentials: CredentialsTable;
  credentialVersions: CredentialVersionsTable;
  credentialRefusals: CredentialRefusalsTable;
  devices: DevicesTable;
  connectTimeouts: ConnectTimeoutsTable;
  tags: TagsTable;
  deviceTags: DeviceTagsTable;
  deviceMarks: DeviceMarksTable;
  deviceFacts: DeviceFactsTable;
  tagRules: TagRulesTable;
  hostKeys: HostKeysTable;
  hostKeyWindows: HostKeyWindowsTable;
  hostKeyWindowUses: HostKeyWindowUsesTable;
  agents: AgentsTable;
  agentBoots: AgentBootsTable;
  agentKeys: AgentKeysTable;
  agentSites: AgentSitesTable;
  agentSessions: AgentSessionsTable;
  joinTokens: JoinTokensTable;
  usedProofs: UsedProofsTable;
  secretDeliveries: SecretDeliveriesTable;
  credentialHolders: CredentialHoldersTable;
  jobs: JobsTable;
  changeHints: ChangeHintsTable;
  openJobs: OpenJobsTable;
  ready: ReadyTable;
  leases: LeasesTable;
  grants: GrantsTable;
  done: DoneTable;
  attempts: AttemptsTable;
  policies: PoliciesTable;
  occurrences: OccurrencesTable;
  occurrenceSites: OccurrenceSitesTable;
  jobLog: JobLogTable;
  outbox: OutboxTable;
  outboxFloor: OutboxFloorTable;
  tasks: TasksTable;
  taskLog: TaskLogTable;
  imports: ImportsTable;
  importRows: ImportRowsTable;
  importSecrets: ImportSecretsTable;
  blobs: BlobsTable;
  uploads: UploadsTable;
  uploadParts: UploadPartsTable;
  backups: BackupsTable;
  revisions: RevisionsTable;
  currentTexts: CurrentTextsTable;
  searchLines: SearchLinesTable;
  searchTexts: SearchTextsTable;
  deviceStatus: DeviceStatusTable;
}

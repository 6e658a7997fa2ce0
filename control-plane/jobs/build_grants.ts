import { type Kysely, sql } from "kysely";
import type { DriverSet } from "@rookery/shared/drivers/driver_set.ts";
import type { AgentId, BootId, ClaimId, CredentialId } from "@rookery/shared/ids.ts";
import type { SealedCredential } from "@rookery/shared/jobs/lease.ts";
import type { FailureCode } from "@rookery/shared/jobs/failure.ts";
import { openSecrets, sealForAgent } from "../credentials/vault.ts";
import { newId } from "../database/new_id.ts";
import type { Database } from "../database/schema.ts";
import { describeError, type Log } from "../http/log.ts";
import type { KeyRing } from "../keys/key_ring.ts";
import type { GrantedLease } from "./claim.ts";
import { type LeaseDetails, readLeaseDetails } from "./lease_details.ts";
import { type LeaseContext, signLease } from "./sign_lease.ts";

/** A lease ready to be sent, or why its job cannot run at all. */
export type Grant =
  | { readonly lease: string; readonly credential: string }
  | { readonly impossible: FailureCode; readonly granted: GrantedLease };

export interface GrantsFor {
  readonly agentId: AgentId;
  readonly bootId: BootId;
  readonly claimId: ClaimId;
  readonly sealJwk: unknown;
  readonly issuer: string;
  readonly incarnation: number;
  readonly keyRing: KeyRing;
  readonly drivers: DriverSet;
  readonly log: Log;
}

/** Signs what was granted and seals to the agent what it needs to log in; every delivery is written down. */
export async function buildGrants(
  db: Kysely<Database>,
  leases: readonly GrantedLease[],
  to: GrantsFor,
): Promise<Grant[]> {
  const leaseIds = leases.map((lease) => lease.leaseId);
  const details = await readLeaseDetails(db, { agentId: to.agentId, leaseIds });
  const grants: Grant[] = [];
  for (const lease of leases) {
    const detail = details.get(lease.leaseId);
    // Returned or cancelled since it was granted: there is nothing to send.
    const grant = detail && await buildGrant(db, { lease, detail }, to);
    if (grant) grants.push(grant);
  }
  return grants;
}

async function buildGrant(
  db: Kysely<Database>,
  { lease, detail }: { lease: GrantedLease; detail: LeaseDetails },
  to: GrantsFor,
): Promise<Grant | undefined> {
  if (detail.logsIn && !detail.credential) {
    return { impossible: "credential_missing", granted: lease };
  }
  const grant = await prepareOrExplain({ lease, detail }, to);
  if ("impossible" in grant || !detail.credential) return grant;
  const { id: credentialId, version } = detail.credential;
  return await recordDelivery(db, { lease, credentialId, version, to }) ? grant : undefined;
}

/**
 * Written down before it is sent, and only while the lease is held: false after a revocation or a loss. The agent's row is
 * held meanwhile, so that whoever revokes it finds every delivery in the ledger.
 */
async function recordDelivery(
  db: Kysely<Database>,
  { lease, credentialId, version, to }: {
    lease: GrantedLease;
    credentialId: CredentialId;
    version: number;
    to: GrantsFor;
  },
): Promise<boolean> {
  const { rows } = await sql`
    with delivered as (
      insert into secret_deliveries (id, site_id, credential_id, version, agent_id, thumbprint,
        lease_id)
      select ${newId()}, l.site_id, ${credentialId}, ${version}::int, a.id, a.thumbprint, l.id
      from leases l join agents a on a.id = l.agent_id
      where l.site_id = ${lease.siteId} and l.device_id = ${lease.deviceId}
        and l.id = ${lease.leaseId} and a.id = ${to.agentId} and a.status = 'active'
      for share of a
      returning *
    ), held as (
      insert into credential_holders as h (credential_id, agent_id, version, site_id, thumbprint)
      select credential_id, agent_id, version, site_id, thumbprint from delivered
      on conflict (credential_id, agent_id, version, site_id, thumbprint)
        do update set deliveries = h.deliveries + 1, last_at = excluded.last_at
    )
    select 1 from delivered`.execute(db);
  return rows.length > 0;
}

/** One job that cannot be prepared must neither hold up the others nor come back for ever without counting. */
async function prepareOrExplain(
  { lease, detail }: { lease: GrantedLease; detail: LeaseDetails },
  to: GrantsFor,
): Promise<Grant> {
  try {
    const sealed = await sealForAgent(await openCredential(lease, detail, to), to.sealJwk);
    const context: LeaseContext = to;
    const signed = await signLease(lease, detail, { context, credentialSha256: sealed.sha256 });
    return { lease: signed, credential: sealed.jwe };
  } catch (error) {
    const { leaseId, jobId } = lease;
    const message = "A granted job could not be prepared";
    to.log({ level: "error", message, leaseId, jobId, ...describeError(error) });
    return { impossible: "control_plane_fault", granted: lease };
  }
}

async function openCredential(
  lease: GrantedLease,
  detail: LeaseDetails,
  to: GrantsFor,
): Promise<SealedCredential> {
  const { credential, host, port } = detail;
  const { leaseId, epoch, deviceId } = lease;
  const sealedFor = { leaseId, epoch, deviceId, host, port };
  if (!credential) return { ...sealedFor, noLogin: true };
  if (credential.localName !== null) return { ...sealedFor, localName: credential.localName };
  const secrets = await openSecrets(to.keyRing, {
    credentialId: credential.id,
    version: credential.version,
    envelope: credential,
  });
  return { ...sealedFor, username: credential.username, ...secrets };
}

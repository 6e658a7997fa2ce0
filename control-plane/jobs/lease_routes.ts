import type { Kysely } from "kysely";
import {
  claimLeases,
  hasBlob,
  putBlob,
  releaseLeaseOfAgent,
  reportResult,
  sendHeartbeat,
} from "@rookery/shared/api/agent_protocol.ts";
import { BLOB_CODINGS } from "@rookery/shared/api/blob_upload.ts";
import type { AgentId, LeaseId } from "@rookery/shared/ids.ts";
import { failureSentence } from "@rookery/shared/jobs/failure.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { heartbeatSeconds } from "../agents/open_session.ts";
import { resultKeysOf } from "../agents/key_store.ts";
import { minTtlSeconds } from "../agents/pulse.ts";
import type { AgentServices } from "../agents/services.ts";
import { findAgent, siteIdsOf } from "../agents/store.ts";
import * as blobs from "../backups/blob_store.ts";
import { findParts } from "../backups/upload_parts.ts";
import { readUploadHeaders, receiveUpload } from "../backups/receive_upload.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import type { App } from "../http/app_type.ts";
import type { AgentCaller } from "../http/caller.ts";
import { route } from "../http/route.ts";
import { buildGrants, type Grant } from "./build_grants.ts";
import { SessionLostError } from "./claim.ts";
import { recordHeartbeat } from "./heartbeat.ts";
import { findGrant } from "./lease_details.ts";
import { noteProgress, PROGRESS_SECONDS } from "./note_progress.ts";
import { readResult } from "./read_result.ts";
import { releaseLease } from "./reap.ts";
import { openSealedResult } from "./sealed_report.ts";
import { settleImpossible, settleResult } from "./settle_result.ts";
import { waitForLeases } from "./wait_for_leases.ts";

/** What an agent says while it works: claim, heartbeat, upload, report, give back. */
export function mountLeases(app: App, services: AgentServices): void {
  const { db, keyRing } = services;

  route(app, claimLeases, async ({ body }, { caller, signal }) => {
    const agent = await findAgent(db, caller.agentId);
    if (!agent) throw new ProblemError("agent-revoked", "This agent is gone.");
    const order = {
      ...body,
      agentId: caller.agentId,
      siteIds: await siteIdsOf(db, caller.agentId),
      drivers: agent.drivers,
      kinds: agent.kinds,
    };
    const leases = await overSession(() => waitForLeases(services, order, signal));
    const to = { ...order, ...services, sealJwk: agent.sealJwk };
    const grants = await buildGrants(db, leases, to);
    return { leases: await settleUnrunnable(services, caller.agentId, grants) };
  });

  route(app, sendHeartbeat, async ({ body }, { caller }) => {
    const agents = await services.sessionCount.get();
    const fleet = { minTtlSeconds: minTtlSeconds(agents) };
    const beat = { ...body, ...fleet, agentId: caller.agentId };
    const reply = await overSession(() => recordHeartbeat(db, beat));
    await noteProgress(db, beat);
    return {
      ...reply,
      cancel: [...reply.cancel],
      unknown: [...reply.unknown],
      heartbeatSeconds: heartbeatSeconds(reply.ttlSeconds, agents),
      progressSeconds: PROGRESS_SECONDS,
    };
  });

  route(app, hasBlob, async ({ params: { leaseId, sha256 } }, { caller, setHeader }) => {
    setHeader("Accept-Encoding", BLOB_CODINGS.join(", "));
    const { deviceId } = await grantOf(db, caller, leaseId);
    const there = await blobs.deviceHasDigest(db, { deviceId, sha256 }) ||
      await blobs.leaseHasDigest(db, { leaseId, sha256 });
    if (there) return;
    const part = await findParts(db, { leaseId, sha256 });
    if (part) {
      setHeader("Upload-Id", part.uploadId);
      setHeader("Upload-Offset", String(part.end));
    }
    throw new ProblemError("not-found", "The bytes are not there yet.");
  });

  route(
    app,
    putBlob,
    async ({ params: { leaseId, sha256 }, body }, { caller, request, signal }) => {
      const { siteId, deviceId } = await grantOf(db, caller, leaseId);
      const headers = readUploadHeaders(request.headers);
      const name = { agentId: caller.agentId, siteId, deviceId, leaseId, sha256 };
      await receiveUpload({ db, keyRing }, { ...name, headers, body, signal });
    },
  );

  route(app, reportResult, async ({ params: { leaseId }, body }, { caller }) => {
    const grant = await grantOf(db, caller, leaseId);
    const token = "sealed" in body
      ? await openSealedResult(keyRing, { jwe: body.sealed, leaseId })
      : body.result;
    const claims = await readResult(token, {
      agentId: caller.agentId,
      leaseId,
      issuer: services.issuer,
      signJwks: await resultKeysOf(db, caller.agentId),
    });
    const { answer, duplicate } = await settleResult(services, grant, { claims, token });
    if (answer === "superseded") {
      throw new ProblemError("lease-superseded", "The job was given to a newer lease, or ended.");
    }
    services.wakeups.notify(grant.siteId);
    return { answer, duplicate };
  });

  route(app, releaseLeaseOfAgent, async ({ params: { leaseId } }, { caller }) => {
    const { siteId } = await grantOf(db, caller, leaseId);
    const lease = { siteId, leaseId, agentId: caller.agentId };
    if (!await inTransaction(db, (tx) => releaseLease(tx, lease))) {
      throw new ProblemError("lease-unknown", "This agent does not hold that lease.");
    }
    services.wakeups.notify(siteId);
  });
}

/** A dead session is no failure: the agent opens it again and goes on. */
async function overSession<Reply>(run: () => Promise<Reply>): Promise<Reply> {
  try {
    return await run();
  } catch (error) {
    if (!(error instanceof SessionLostError)) throw error;
    throw new ProblemError("session-required", "The agent's session is over.", { cause: error });
  }
}

/** Only the holder of a lease, or the last one, may speak under it; to others it does not exist. */
async function grantOf(db: Kysely<Database>, { agentId }: AgentCaller, leaseId: LeaseId) {
  const grant = await findGrant(db, { agentId, leaseId });
  if (!grant) throw new ProblemError("lease-unknown", "This agent was never given that lease.");
  return grant;
}

/** Ends the jobs that no agent could run, and returns the others to be sent. */
async function settleUnrunnable(
  services: AgentServices,
  agentId: AgentId,
  grants: readonly Grant[],
) {
  const sendable: { lease: string; credential: string }[] = [];
  for (const grant of grants) {
    if (!("impossible" in grant)) {
      sendable.push(grant);
      continue;
    }
    const { impossible: code, granted } = grant;
    const held = await findGrant(services.db, { agentId, leaseId: granted.leaseId });
    if (held) await settleImpossible(services, held, { code, detail: failureSentence(code) });
  }
  return sendable;
}

import type { Transaction } from "kysely";
import { sha256 } from "@rookery/shared/canonical_json.ts";
import { type Failure, failureSentence } from "@rookery/shared/jobs/failure.ts";
import { JOB_KINDS, JobKind } from "@rookery/shared/jobs/mod.ts";
import type { ResultClaims } from "@rookery/shared/jobs/result.ts";
import { refusedField } from "@rookery/shared/problem.ts";
import { alarmPolicyRefusal } from "../agents/policy_refusals.ts";
import { holdActiveAgent } from "../agents/store.ts";
import type { BackupAttempt } from "../backups/record_backup.ts";
import { loginVerdict } from "../credentials/credential_state.ts";
import type { Database } from "../database/schema.ts";
import { inTransaction } from "../database/transaction.ts";
import { noteAcceptedKey, noteRefusedKey } from "../host_keys/note_host_key.ts";
import { acceptInWindow, findWindow, type Sighting } from "../host_keys/windows.ts";
import { type Acceptance, answerAgain, type Envelope, type Verdict } from "./accept.ts";
import { acceptWithLogin } from "./accept_login.ts";
import { noteConnectFailure } from "./care_for_sites.ts";
import { endQuarantined } from "./end_quarantined.ts";
import { type Grant, type Judged, type Settlement, workOf } from "./kinds.ts";

/**
 * Settles what an agent reported under a lease. The slow part, reading and judging the configuration, comes
 * before the transaction; in it, everything that the result changes is changed together or not at all.
 */
export async function settleResult(
  by: Settlement,
  grant: Grant,
  result: { claims: ResultClaims; token: string },
): Promise<Acceptance> {
  const { claims } = result;
  compareWithGrant(claims, grant);
  const judged = await judge(by, grant, claims);
  const envelope = { sha256: await sha256(result.token), durationMs: claims.durationMs };
  const acceptance = await inTransaction(by.db, async (tx) => {
    await holdActiveAgent(tx, grant.agentId);
    const end = { grant, claims, judged, envelope };
    // Of another life of the installation: its epochs mean nothing here.
    return await (claims.incarnation === by.incarnation ? settle(tx, end) : fileOnly(tx, end));
  });
  if (acceptance.quarantined) await endQuarantined(by.db);
  const { verdict } = judged;
  if (acceptance.settled && verdict.status === "failed") {
    await noteConnectFailure(by.db, grant, verdict.failure.code);
  }
  return acceptance;
}

/** Ends the job of a lease that cannot be run at all, without its agent. */
export async function settleImpossible(
  by: Settlement,
  grant: Grant,
  failure: Failure,
): Promise<Acceptance> {
  const envelope = { sha256: `control-plane:${grant.leaseId}`, durationMs: 0 };
  const judged: Judged = { verdict: { status: "failed", failure } };
  return await inTransaction(by.db, (tx) => settle(tx, { grant, judged, envelope }));
}

function compareWithGrant(claims: ResultClaims, grant: Grant): void {
  const wrong = [
    claims.sub !== grant.jobId && "sub",
    claims.siteId !== grant.siteId && "siteId",
    claims.epoch !== grant.epoch && "epoch",
    claims.bootId !== grant.bootId && "bootId",
  ].find((field) => field !== false);
  if (!wrong) return;
  const detail = `its ${wrong} is not that of the lease`;
  throw refusedField("#/result", detail);
}

async function judge(by: Settlement, grant: Grant, { report }: ResultClaims): Promise<Judged> {
  if (report.status === "cancelled") return { verdict: { status: "cancelled" } };
  if (report.status === "failed") {
    const login = loginVerdict(report.failure.code);
    return { verdict: { status: "failed", failure: report.failure }, login };
  }
  const kind = JobKind.parse(grant.kind);
  const outcome = JOB_KINDS[kind].outcome.safeParse(report.outcome);
  if (!outcome.success) return invalid("The outcome does not have the form of its job's kind.");
  return await workOf(kind).judge(by, grant, outcome.data);
}

function invalid(detail: string): Judged {
  return { verdict: { status: "failed", failure: { code: "result_invalid", detail } } };
}

async function settle(
  tx: Transaction<Database>,
  { grant, claims, judged, envelope }: {
    grant: Grant;
    claims?: ResultClaims;
    judged: Judged;
    envelope: Envelope;
  },
): Promise<Acceptance> {
  const shown = refusedKeyOf(grant, claims);
  const windowId = shown && await findWindow(tx, shown);
  const verdict = windowId ? RENEWED : judged.verdict;
  const acceptance = await acceptWithLogin(tx, grant, { ...judged, verdict, envelope });
  const { settled } = acceptance;
  if (!settled || settled.outcome === "cancelled") {
    await fileContent(tx, { grant, judged, envelope, acceptance });
    return acceptance;
  }
  const attempt = attemptOf(grant, envelope, { late: settled.late });
  await judged.store?.(tx, attempt);
  if (judged.hostKey) await noteAcceptedKey(tx, { ...grant, hostKey: judged.hostKey });
  if (verdict.status === "failed") {
    const { failure } = verdict;
    if (failure.code === "refused_by_agent_policy") await alarmPolicyRefusal(tx, grant, failure);
    await workOf(settled.kind).noteFailure?.(tx, { attempt, failure });
    if (shown && !(windowId && await acceptInWindow(tx, windowId, shown))) {
      await noteRefusedKey(tx, shown);
    }
  }
  return acceptance;
}

/** The change was authorised beforehand: the job is tried again, with the new key as its pin. */
const RENEWED: Verdict = {
  status: "failed",
  failure: { code: "host_key_renewed", detail: failureSentence("host_key_renewed") },
};

/** The key for which the agent went no further, before any password was sent. */
function refusedKeyOf(grant: Grant, claims: ResultClaims | undefined): Sighting | undefined {
  if (claims?.report.status !== "failed") return undefined;
  const { failure, hostKey } = claims.report;
  const isAboutKey = failure.code === "host_key_changed" || failure.code === "host_key_unknown";
  return hostKey && isAboutKey ? { ...grant, hostKey } : undefined;
}

/** Settles nothing and files the content, once. */
async function fileOnly(
  tx: Transaction<Database>,
  end: { grant: Grant; judged: Judged; envelope: Envelope },
): Promise<Acceptance> {
  const { verdict } = end.judged;
  const acceptance = await answerAgain(tx, end.grant, { verdict, envelope: end.envelope });
  await fileContent(tx, { ...end, acceptance });
  return acceptance;
}

/**
 * A superseded result settles nothing, and a cancelled job wants none, but what was read is a true picture of the device
 * at that time: it is filed under it.
 */
async function fileContent(
  tx: Transaction<Database>,
  { grant, judged, envelope, acceptance }: {
    grant: Grant;
    judged: Judged;
    envelope: Envelope;
    acceptance: Acceptance;
  },
): Promise<void> {
  if (acceptance.duplicate || !await holdDevice(tx, grant)) return;
  const attempt = { ...attemptOf(grant, envelope, { late: true }), superseded: true };
  await judged.store?.(tx, attempt);
}

/** False when the device was purged, or moved to another site, while its result was read. Neither happens from now on. */
async function holdDevice(tx: Transaction<Database>, { deviceId, siteId }: Grant) {
  const row = await tx.selectFrom("devices").select("id").where("id", "=", deviceId)
    .where("siteId", "=", siteId).forShare().executeTakeFirst();
  return row !== undefined;
}

/**
 * A result that waited, in a spool or on its way, tells of the time when the device was read: when the lease was granted,
 * by the clock of the database, and as long after it as the agent took, by its own. No two clocks are compared.
 */
function attemptOf(grant: Grant, { durationMs }: Envelope, { late }: { late: boolean }) {
  const attempt: BackupAttempt = { ...grant, durationMs, late };
  if (!late) return attempt;
  return { ...attempt, capturedAt: grant.grantedAt.add({ milliseconds: durationMs }) };
}

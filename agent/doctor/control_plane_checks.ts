import { openAgentSession, readSigningKeys } from "@rookery/shared/api/agent_protocol.ts";
import { call, UnexpectedReplyError } from "@rookery/shared/client.ts";
import type { BootId } from "@rookery/shared/ids.ts";
import { ProblemError, PROBLEMS } from "@rookery/shared/problem.ts";
import { ownVersions, ProvenSender } from "../control_plane.ts";
import { privateKey } from "../enroll.ts";
import { learnKeys } from "../key_chain.ts";
import { errorText } from "../log.ts";
import { type AgentIdentity, StateFolder } from "../state_folder.ts";
import { failed, type Finding, ok, skipped, took, warning } from "./finding.ts";
import type { Way } from "./way_checks.ts";

const REQUEST_MS = 10_000;
const CLOCK_OK_SECONDS = 5;
const CLOCK_BAD_SECONDS = 3_600;

/** Whether it answers and is well, how fast, and how its clock stands to ours. */
export async function checkControlPlane({ base, route, outcome }: Way): Promise<Finding[]> {
  const check = "control plane";
  if (outcome === "timeout") {
    const remedy = "Check the control plane, and what lies on the way to it.";
    return [failed(check, `${base} did not answer in time`, remedy), noClock()];
  }
  if (outcome !== "through") return [failed(check, outcome.seen, outcome.remedy), noClock()];
  const startedAt = performance.now();
  try {
    const signal = AbortSignal.timeout(REQUEST_MS);
    const response = await route.send(new Request(`${base}/healthz`, { signal }));
    await response.body?.cancel();
    const seen = `${base} answers ${response.status} in ${took(startedAt)}`;
    const finding = response.ok
      ? ok(check, seen)
      : failed(check, seen, "Its own log, or that of the proxy in front of it, says why.");
    return [finding, checkClock(response.headers.get("date"))];
  } catch (error) {
    return [failed(check, errorText(error), "Try again: it was there a moment ago."), noClock()];
  }
}

/** To the second, which is all that the header tells. */
function checkClock(date: string | null): Finding {
  const check = "clock";
  const there = Date.parse(date ?? "");
  if (Number.isNaN(there)) return skipped(check, "the control plane told no time");
  const ahead = Math.round((Date.now() - there) / 1_000);
  const seen = `${Math.abs(ahead)} s ${ahead < 0 ? "behind" : "ahead of"} the control plane's`;
  if (Math.abs(ahead) <= CLOCK_OK_SECONDS) return ok(check, seen);
  const remedy = "Set it by NTP (timedatectl set-ntp true), here or on the control plane.";
  return Math.abs(ahead) < CLOCK_BAD_SECONDS
    ? warning(check, `${seen}: the times in the log are wrong`, remedy)
    : failed(check, `${seen}: certificates will look expired, or not begun`, remedy);
}

function noClock(): Finding {
  return skipped("clock", "the control plane was not reached");
}

/** Whether what answers signs with a key that this agent trusts. */
export async function checkTrust(
  { base, route, outcome }: Way,
  stateFolder: string,
  identity: AgentIdentity,
): Promise<Finding> {
  const check = "trust";
  if (outcome !== "through") return skipped(check, "the control plane was not reached");
  try {
    const signal = AbortSignal.timeout(REQUEST_MS);
    const offered = await call(route.send, base, readSigningKeys, {}, { signal });
    const kept = await StateFolder.read(stateFolder).readTrust();
    const before = kept?.issuer === identity.issuer ? kept : { ...identity, sealingSequence: 0 };
    const { trusted, unvouched } = await learnKeys(before, offered, identity);
    const [signing] = offered.keys;
    if (signing && trusted.signingKeys.some(({ kid }) => kid === signing.kid)) {
      return ok(check, `it signs with ${signing.kid}, which this agent trusts`);
    }
    return failed(
      check,
      `it shows keys that this agent has no reason to trust: ${unvouched.join(", ") || "none"}`,
      "Find out what answers there. If the control plane was set up anew, enrol again in an empty folder.",
    );
  } catch (error) {
    return failed(
      check,
      errorText(error),
      "What answers there is no control plane: check its address.",
    );
  }
}

/**
 * Whether the control plane knows this agent. Asked by a request that cannot be fulfilled, signed as always: the answer
 * says either who is not welcome, or that the body is wrong. So no session is opened, which would end the one of the
 * agent that runs, or be taken for a copy of it. That an agent is locked, only its own log tells.
 */
export async function checkSession(
  { base, route, outcome }: Way,
  { signKey }: AgentIdentity,
): Promise<Finding> {
  const check = "session";
  if (outcome !== "through") return skipped(check, "the control plane was not reached");
  const { d: _, ...publicJwk } = signKey;
  const key = { privateKey: await privateKey(signKey, "Ed25519"), publicJwk };
  const sender = new ProvenSender(key, route.send);
  try {
    const signal = AbortSignal.timeout(REQUEST_MS);
    const send = (request: Request) => sender.send(withoutBody(request));
    const bootId = crypto.randomUUID() as BootId;
    const body = { bootId, sequence: 1, capacity: 0, ...await ownVersions() };
    await call(send, base, openAgentSession, { body }, { signal });
    return failed(
      check,
      "what answers takes any session",
      "It is no control plane: check its address.",
    );
  } catch (error) {
    return judge(error);
  }
}

/** In place of a good body, which `call` insists on. */
function withoutBody({ url, method, signal }: Request): Request {
  return new Request(url, {
    method,
    signal,
    redirect: "error",
    headers: { "content-type": "application/json" },
    body: "{}",
  });
}

function judge(error: unknown): Finding {
  const check = "session";
  if (error instanceof ProblemError) {
    return error.type === "validation"
      ? ok(check, "the control plane knows this agent, and it is neither revoked nor pending")
      : failed(check, error.message, PROBLEMS[error.type][2]);
  }
  const remedy = error instanceof UnexpectedReplyError
    ? "What answers is no control plane: check its address."
    : "Try again.";
  return failed(check, errorText(error), remedy);
}

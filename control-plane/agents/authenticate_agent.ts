import type { Kysely } from "kysely";
import { openAgentSession } from "@rookery/shared/api/agent_protocol.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import type { Database } from "../database/schema.ts";
import type { AppContext } from "../http/app_type.ts";
import type { AgentCaller } from "../http/caller.ts";
import type { KeyRing } from "../keys/key_ring.ts";
import { type AccessToken, readAccessToken } from "./access_token.ts";
import { findKeyHolder, type KeyHolder } from "./key_store.ts";
import { ProofError, type ProvenKey, verifyProof } from "./proof.ts";
import type { ProofNonces } from "./proof_nonces.ts";

export interface AgentAuthentication {
  readonly db: Kysely<Database>;
  readonly keyRing: KeyRing;
  readonly nonces: ProofNonces;
  readonly issuer: string;
  readonly publicUrl: string;
}

/**
 * Finds out which agent is calling: by its proof alone where it opens its session, by access token and proof
 * everywhere else. Every reply carries the next nonce.
 */
export async function authenticateAgent(
  context: AppContext,
  by: AgentAuthentication,
): Promise<AgentCaller> {
  context.header("DPoP-Nonce", await by.nonces.current());
  const opening = context.req.path === openAgentSession.path;
  const accessToken = opening ? undefined : bearerOf(context);
  const token = accessToken === undefined
    ? undefined
    : await readAccessToken(by.keyRing, by.issuer, accessToken);
  if (!opening && !token) {
    throw new ProblemError("session-required", "The access token is missing, wrong or over.");
  }
  const carrier = {
    request: context.req.raw,
    setHeader: (name: string, value: string) => context.header(name, value),
  };
  const key = await proveKey(carrier, by, accessToken);
  if (token && token.thumbprint !== key.thumbprint) {
    throw new ProblemError("invalid-proof", "The access token belongs to another key.");
  }
  const { thumbprint } = key;
  const holder = await findKeyHolder(by.db, { thumbprint, bootId: token?.bootId });
  return callerOf(holder, key, token);
}

function bearerOf(context: AppContext): string | undefined {
  return /^DPoP (\S{1,4000})$/i.exec(context.req.header("authorization") ?? "")?.[1];
}

/** A request with its proof, and where its answer's headers go. */
export interface ProofCarrier {
  readonly request: Request;
  setHeader(name: string, value: string): void;
}

/** Checks the request's proof against the address that agents know, not against what the request says. */
export async function proveKey(
  { request, setHeader }: ProofCarrier,
  by: Pick<AgentAuthentication, "nonces" | "publicUrl">,
  accessToken?: string,
): Promise<ProvenKey> {
  const proof = request.headers.get("dpop");
  try {
    if (proof === null) throw new ProofError("There is no proof", { needsNonce: true });
    return await verifyProof({
      proof,
      method: request.method,
      url: new URL(new URL(request.url).pathname, by.publicUrl).href,
      ...(accessToken === undefined ? {} : { accessToken }),
    }, by.nonces);
  } catch (error) {
    if (!(error instanceof ProofError)) throw error;
    const reason = error.needsNonce ? 'error="use_dpop_nonce", ' : 'error="invalid_dpop_proof", ';
    setHeader("WWW-Authenticate", `DPoP ${reason}algs="Ed25519"`);
    throw new ProblemError("invalid-proof", `${error.message}.`, { cause: error });
  }
}

function callerOf(
  holder: KeyHolder | undefined,
  { thumbprint, jti }: ProvenKey,
  token: AccessToken | undefined,
): AgentCaller {
  if (!holder) throw new ProblemError("agent-revoked", "No agent has this key.");
  refuseUnwanted(holder);
  // Copies of an agent are judged where a session is opened: what is found out there has to be written down.
  if (token) refuseWithoutSession(holder);
  const { id: agentId, name } = holder.agent;
  const identity = { kind: "agent", agentId, name, thumbprint, jti } as const;
  return token ? { ...identity, bootId: token.bootId } : identity;
}

/** Before the body is looked at: `doctor` learns by a bad one whether its agent is wanted, and opens no session. */
function refuseUnwanted({ agent: { status }, keyState }: KeyHolder): void {
  if (status === "revoked") throw new ProblemError("agent-revoked", "This agent was revoked.");
  if (keyState === "dead") throw new ProblemError("agent-revoked", "This key was replaced.");
  if (status === "pending") {
    throw new ProblemError("agent-pending", "This agent waits until its fingerprint is approved.");
  }
}

/** A key or a boot that was replaced opens its session again: there it gets its answer. */
function refuseWithoutSession({ agent: { status }, keyState, bootReplaced }: KeyHolder): void {
  if (status === "locked") throw new ProblemError("agent-locked", "This agent is locked.");
  if (keyState === "retired" || bootReplaced) {
    throw new ProblemError("session-required", "Another key or boot of this agent took over.");
  }
}

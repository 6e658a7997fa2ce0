import {
  drainAgent,
  enrollAgent,
  fetchDriver,
  openAgentSession,
  readSigningKeys,
  rotateAgentKeys,
} from "@rookery/shared/api/agent_protocol.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { refuseDuplicates } from "../database/constraints.ts";
import { inTransaction } from "../database/transaction.ts";
import type { App } from "../http/app_type.ts";
import { route } from "../http/route.ts";
import { releaseOffers } from "../jobs/reap.ts";
import { ACCESS_TOKEN_SECONDS, signAccessToken } from "./access_token.ts";
import { proveKey } from "./authenticate_agent.ts";
import {
  auditReuse,
  enrol,
  type Enrolment,
  ReusedTokenError,
  standingOrRefuse,
} from "./enrolment.ts";
import { agreeOnKeys } from "./agree_on_keys.ts";
import { heartbeatSeconds, openSession } from "./open_session.ts";
import { minTtlSeconds } from "./pulse.ts";
import type { AgentServices } from "./services.ts";
import { neededDrivers, signDriver } from "./signed_drivers.ts";
import { whyTooOld } from "./served_versions.ts";
import { findAgent, setCapacity, siteIdsOf } from "./store.ts";

const DUPLICATES = {
  agents_name: [
    "joinToken",
    "another agent has the name of this join token: revoke the old agent, or make a join token " +
    "with another name",
  ],
  // Two tokens used at once by one key: one of them made the agent.
  agents_thumbprint_key: ["signJwk", "this key belongs to an enrolled agent already"],
  agent_keys_pkey: ["signJwk", "this key belongs to an enrolled agent already"],
} as const;

/** How agents join, open their sessions and leave; what they do in between is in `jobs/lease_routes.ts`. */
export function mountAgentProtocol(app: App, services: AgentServices): void {
  const { db, keyRing } = services;

  // A join token's holder has no session yet: the proof of the key it brings is checked here.
  app.use(enrollAgent.path, async (context, next) => {
    context.header("DPoP-Nonce", await services.nonces.current());
    await next();
  });

  route(app, enrollAgent, async ({ body }, context) => {
    const key = await proveKey(context, services);
    // Before the token is burnt: the same one is good for the agent that was updated.
    const tooOld = whyTooOld(body, services.engineVersion);
    if (tooOld) throw tooOld;
    if (key.jwk.x !== body.signJwk.x) {
      throw new ProblemError("invalid-proof", "The proof is made by another key than signJwk.");
    }
    const { joinToken, sealJwk, agentVersion: version, drivers } = body;
    const { address, requestId } = context;
    const offered = { joinToken, sealJwk, version, drivers, key };
    return await enrolled(services, { ...offered, address, requestId });
  });

  route(app, openAgentSession, async ({ body }, { caller, address, requestId }) => {
    const { agentId, thumbprint, jti } = caller;
    const agents = await services.sessionCount.get();
    const fleet = { minTtlSeconds: minTtlSeconds(agents) };
    const boot = { ...body, ...fleet, agentId, thumbprint, jti, address, requestId };
    const { driversChanged, ...session } = await openSession(services, boot);
    // A claim that is held open learns of them.
    if (driversChanged) { for (const siteId of session.siteIds) services.wakeups.notify(siteId); }
    const { bootId } = body;
    const token = { agentId, bootId, thumbprint };
    return {
      ...session,
      accessToken: await signAccessToken(keyRing, services.issuer, token),
      expiresInSeconds: ACCESS_TOKEN_SECONDS,
      heartbeatSeconds: heartbeatSeconds(session.ttlSeconds, agents),
      incarnation: services.incarnation,
      keyGeneration: keyRing.generation,
      drivers: await neededDrivers(services, {
        siteIds: session.siteIds,
        reported: body.drivers,
      }),
    };
  });

  route(app, fetchDriver, async ({ params: { sha256 } }) => {
    const driver = await signDriver(services, sha256);
    if (driver !== undefined) return { driver };
    throw new ProblemError("not-found", "This control plane has no driver with that digest.");
  });

  route(
    app,
    rotateAgentKeys,
    async ({ body }, context) => await agreeOnKeys(services, body, context),
  );

  route(app, drainAgent, async ({ body }, { caller }) => {
    const boot = { agentId: caller.agentId, bootId: body.bootId };
    await inTransaction(db, async (tx) => {
      await setCapacity(tx, { ...boot, capacity: 0 });
      await releaseOffers(tx, boot);
    });
  });

  route(app, readSigningKeys, async () => ({
    keys: keyRing.signingPublicJwks.map(controlPlaneJwk),
    statements: [...await keyRing.statements(services.issuer)],
    generation: keyRing.generation,
  }));
}

async function enrolled(services: AgentServices, enrolment: Enrolment) {
  const { db, keyRing } = services;
  try {
    const agentId = await refuseDuplicates(
      DUPLICATES,
      () => inTransaction(db, (tx) => enrol(tx, enrolment)),
    );
    const { name, status } = standingOrRefuse(await findAgent(db, agentId));
    return {
      agentId,
      name,
      status,
      issuer: services.issuer,
      siteIds: await siteIdsOf(db, agentId),
      incarnation: services.incarnation,
      signingKeys: keyRing.signingPublicJwks.map(controlPlaneJwk),
      sealingKey: { ...keyRing.sealing.publicJwk, crv: "X25519" as const },
    };
  } catch (error) {
    if (error instanceof ReusedTokenError) {
      await inTransaction(db, (tx) => auditReuse(tx, error, enrolment));
    }
    throw error;
  }
}

function controlPlaneJwk({ kty, x, kid }: { kty: "OKP"; x: string; kid: string }) {
  return { kty, crv: "Ed25519" as const, x, kid };
}

import {
  finishOidcLogin,
  getLoginOptions,
  setOidcClientSecret,
  startOidcLogin,
} from "@rookery/shared/api/oidc.ts";
import { ProblemError } from "@rookery/shared/problem.ts";
import { actorOf, writeAudit } from "../audit/store.ts";
import { inTransaction } from "../database/transaction.ts";
import { networkOf } from "../http/address.ts";
import type { App } from "../http/app_type.ts";
import { requireBrowserSession } from "../http/authenticate.ts";
import type { Log } from "../http/log.ts";
import { route, type RouteContext } from "../http/route.ts";
import { newSecret } from "../http/secret_token.ts";
import { openEnvelope, type SealContext, sealEnvelope } from "../keys/envelope.ts";
import type { KeyRing } from "../keys/key_ring.ts";
import { readGrants } from "../permissions/read_grants.ts";
import { refusePart } from "../permissions/refuse_part.ts";
import type { LoginThrottle } from "../sessions/login_throttle.ts";
import {
  openSession,
  type OpenSessionServices,
  setCookies,
  toFreshMe,
} from "../sessions/open_session.ts";
import { attemptOf, isStateOf, type OidcAttempt } from "./attempt.ts";
import { type Claims, OidcProvider, type ProviderClient } from "./provider.ts";
import { readPerson } from "./read_person.ts";
import { signInUser } from "./sign_in.ts";
import {
  deleteClientSecret,
  findClientSecret,
  type OidcClient,
  upsertClientSecret,
} from "./store.ts";

export interface OidcServices extends OpenSessionServices {
  readonly keyRing: KeyRing;
  readonly publicUrl: string;
  readonly throttle: LoginThrottle;
  readonly log: Log;
}

/** How long there is to sign in at the provider. */
const ATTEMPT_SECONDS = 600;

/** Sign-in at an OpenID provider (authorization code with PKCE); the page `/login/oidc` calls these. */
export function mountOidc(app: App, services: OidcServices): void {
  const { db, cookie, settings } = services;
  const provider = new OidcProvider(services);
  route(app, getLoginOptions, async () => {
    return { oidc: (await settings.read())["oidc.issuer"] !== "" };
  });

  route(app, startOidcLogin, async (_input, context) => {
    const client = await readClient(services);
    const secret = newSecret("rko");
    const scope = (await settings.read())["oidc.scopes"];
    const authorizationUrl = await provider.authorizationUrl(client, {
      ...attemptOf(secret),
      scope,
    });
    setCookies(context, [cookie.setOidc(secret, ATTEMPT_SECONDS)]);
    return { authorizationUrl };
  });

  route(app, finishOidcLogin, async ({ body: { code, state, iss } }, context) => {
    const client = await readClient(services);
    const attempt = attemptBehind(services, context, state);
    const returned = { code, state, ...iss === undefined ? {} : { iss } };
    const claims = await throttled(
      services,
      context,
      () => provider.claims(client, { returned, attempt }),
    );
    const values = await settings.read();
    const signIn = {
      issuer: client.issuer,
      person: readPerson(claims, values["oidc.groups_claim"]),
      mapping: values["oidc.roles"],
      actor: { ...actorOf(context), name: "oidc" },
    };
    const { user, cookies } = await inTransaction(db, async (tx) => {
      const user = await signInUser(tx, signIn);
      return { user, cookies: await openSession(tx, user, { ...context, cookie }) };
    });
    setCookies(context, [...cookies, cookie.setOidc("", 0)]);
    return toFreshMe(user, await readGrants(db, user.id));
  });
  mountClientSecret(app, services);
}

/** Who makes up answers makes us ask the provider: each network waits ever longer. */
async function throttled(
  { throttle, settings }: OidcServices,
  { address }: RouteContext,
  run: () => Promise<Claims>,
): Promise<Claims> {
  // No user name holds a control character.
  const name = `\0oidc ${networkOf(address)}`;
  throttle.begin(name, address, await settings.read());
  const claims = await run();
  throttle.succeed(name, address);
  return claims;
}

function attemptBehind(
  { cookie }: OidcServices,
  { request }: RouteContext,
  state: string,
): OidcAttempt {
  const secret = cookie.readOidc(request);
  const attempt = secret === undefined ? undefined : attemptOf(secret);
  if (attempt && isStateOf(attempt, state)) return attempt;
  const detail = "This sign-in was not begun in this browser, or too long ago; begin it again.";
  throw new ProblemError("sign-in-refused", detail);
}

function mountClientSecret(app: App, services: OidcServices): void {
  const { db, keyRing } = services;
  route(app, setOidcClientSecret, async ({ body: { clientSecret } }, context) => {
    requireBrowserSession(context.caller);
    refusePart(context.scope, "The settings belong to who sees all sites.");
    const client = await readNames(services);
    const plaintext = new TextEncoder().encode(clientSecret ?? "");
    const envelope = await sealEnvelope(keyRing, { context: sealContext(client), plaintext });
    await inTransaction(db, async (tx) => {
      if (clientSecret === null) await deleteClientSecret(tx, client);
      else await upsertClientSecret(tx, { ...client, envelope });
      const target = { kind: "setting", id: "oidc.client_secret" };
      const entry = { actor: actorOf(context), action: "oidc.set_client_secret", target };
      await writeAudit(tx, { ...entry, detail: { ...client, isSet: clientSecret !== null } });
    });
  });
}

async function readClient(services: OidcServices): Promise<ProviderClient> {
  const client = await readNames(services);
  const envelope = await findClientSecret(services.db, client);
  if (!envelope) return { ...client, clientSecret: undefined };
  const plaintext = await openEnvelope(services.keyRing, {
    context: sealContext(client),
    envelope,
  });
  return { ...client, clientSecret: new TextDecoder().decode(plaintext) };
}

async function readNames({ settings }: OidcServices): Promise<OidcClient> {
  const values = await settings.read();
  const [issuer, clientId] = [values["oidc.issuer"], values["oidc.client_id"]];
  if (issuer !== "") return { issuer, clientId };
  throw new ProblemError(
    "conflict",
    "No OpenID provider is set: the setting oidc.issuer is empty.",
  );
}

function sealContext({ issuer, clientId }: OidcClient): SealContext {
  return ["oidc", issuer, clientId];
}

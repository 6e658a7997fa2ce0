/** A real OpenID provider (npm oidc-provider) on this machine, at which people log in without a page. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import Provider from "oidc-provider";
import type { TestControlPlane } from "./control_plane.ts";

export const CLIENT_SECRET = "a secret of the client at the provider";

/** What the provider says of a person beside their subject. */
export type ProviderClaims = Readonly<Record<string, unknown>>;

export interface TestOidcProvider extends AsyncDisposable {
  readonly issuer: string;
  /** By subject; may be changed between two sign-ins. */
  readonly people: Map<string, ProviderClaims>;
  /** Logs a person in there; returns the address that their browser is sent back to. */
  logIn(authorizationUrl: string, subject: string): Promise<URL>;
}

/** Starts one that knows Rookery as the client `rookery`: with its secret, or by PKCE alone. */
export async function startOidcProvider(
  publicUrl: string,
  { isPublic = true }: { readonly isPublic?: boolean } = {},
): Promise<TestOidcProvider> {
  const people = new Map<string, ProviderClaims>();
  let answer: (request: IncomingMessage, response: ServerResponse) => unknown = () => {};
  const server = createServer((request, response) => void answer(request, response));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const provider = new Provider(issuer, configure({ publicUrl, isPublic, people }) as never);
  const handle = provider.callback();
  answer = async (request, response) => {
    const subject = /^\/interaction\/[^?]+\?as=(.+)$/.exec(request.url ?? "")?.[1];
    if (subject === undefined) return handle(request, response);
    const login = { accountId: decodeURIComponent(subject) };
    await provider.interactionFinished(request, response, { login });
  };
  return {
    issuer,
    people,
    logIn: (authorizationUrl, subject) => logIn(authorizationUrl, { subject, publicUrl }),
    [Symbol.asyncDispose]: () => close(server),
  };
}

function configure(
  { publicUrl, isPublic, people }: {
    readonly publicUrl: string;
    readonly isPublic: boolean;
    readonly people: ReadonlyMap<string, ProviderClaims>;
  },
) {
  const authentication = isPublic
    ? { token_endpoint_auth_method: "none" }
    : { token_endpoint_auth_method: "client_secret_basic", client_secret: CLIENT_SECRET };
  return {
    clients: [{
      client_id: "rookery",
      redirect_uris: [`${publicUrl}/login/oidc`],
      grant_types: ["authorization_code"],
      response_types: ["code"],
      ...authentication,
    }],
    pkce: { required: () => true },
    cookies: { keys: ["tests"] },
    features: { devInteractions: { enabled: false } },
    claims: {
      openid: ["sub"],
      profile: ["name", "preferred_username", "groups", "teams"],
      email: ["email", "email_verified"],
    },
    findAccount: (_context: unknown, accountId: string) => ({
      accountId,
      claims: () => ({ sub: accountId, ...people.get(accountId) }),
    }),
    interactions: { url: (_context: unknown, { uid }: { uid: string }) => `/interaction/${uid}` },
    // Nobody is asked whether Rookery may know them.
    // deno-lint-ignore no-explicit-any -- the provider's context has no types
    loadExistingGrant: async ({ oidc }: any) => {
      const { clientId } = oidc.client;
      const grant = new oidc.provider.Grant({ clientId, accountId: oidc.session.accountId });
      grant.addOIDCScope("openid profile email");
      await grant.save();
      return grant;
    },
  };
}

/** What a browser does: it follows redirects and keeps cookies, until it is sent back. */
async function logIn(
  authorizationUrl: string,
  { subject, publicUrl }: { readonly subject: string; readonly publicUrl: string },
): Promise<URL> {
  const cookies = new Map<string, string>();
  let url = new URL(authorizationUrl);
  while (url.origin !== publicUrl) {
    if (url.pathname.startsWith("/interaction/")) url.searchParams.set("as", subject);
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join("; ");
    const reply = await fetch(url, { redirect: "manual", headers: { cookie } });
    const text = await reply.text();
    for (const set of reply.headers.getSetCookie()) {
      const [pair = ""] = set.split(";");
      cookies.set(pair.slice(0, pair.indexOf("=")), pair.slice(pair.indexOf("=") + 1));
    }
    const location = reply.headers.get("location");
    if (location === null) throw new Error(`Cannot log in: ${reply.status} at ${url}: ${text}`);
    url = new URL(location, url);
  }
  return url;
}

/** What the page `/login/oidc` does; returns the last reply. */
export async function signIn(
  plane: TestControlPlane,
  provider: TestOidcProvider,
  subject: string,
): Promise<Response> {
  const { cookie, authorizationUrl } = await startSignIn(plane);
  return await finishSignIn(plane, {
    cookie,
    url: await provider.logIn(authorizationUrl, subject),
  });
}

/** Begins a sign-in: the cookie that the browser is to keep, and where it goes. */
export async function startSignIn(
  plane: TestControlPlane,
): Promise<{ readonly cookie: string; readonly authorizationUrl: string }> {
  const reply = await plane.fetch("/api/v1/login/oidc/start", { method: "POST" });
  const answer = await reply.json();
  if (!reply.ok) throw new Error(`Cannot start a sign-in: ${JSON.stringify(answer)}`);
  const [cookie = ""] = reply.headers.getSetCookie();
  return { cookie: cookie.split(";")[0] ?? "", ...answer };
}

export async function finishSignIn(
  plane: TestControlPlane,
  { cookie, url }: { readonly cookie: string; readonly url: URL },
): Promise<Response> {
  const { code, state, iss } = Object.fromEntries(url.searchParams);
  return await plane.fetch("/api/v1/login/oidc", {
    method: "POST",
    headers: { cookie, origin: plane.publicUrl, "content-type": "application/json" },
    body: JSON.stringify({ code, state, iss }),
  });
}

async function close(server: Server): Promise<void> {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
}

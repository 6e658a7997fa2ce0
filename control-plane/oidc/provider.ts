import * as oidc from "openid-client";
import { ProblemError } from "@rookery/shared/problem.ts";
import { isLoopback } from "@rookery/shared/settings/oidc.ts";
import { describeError, type Log } from "../http/log.ts";
import type { OidcAttempt } from "./attempt.ts";
import type { OidcClient } from "./store.ts";

const TIMEOUT_SECONDS = 10;
/** A provider changes its keys and addresses seldom; openid-client itself asks for keys that it does not know. */
const KEEP_MS = 600_000;

/** Our client at a provider; without a secret it is a public one, which PKCE is made for. */
export interface ProviderClient extends OidcClient {
  readonly clientSecret: string | undefined;
}

/** What a provider says of a person. */
export type Claims = Readonly<Record<string, unknown>> & { readonly sub: string };

/** The provider that the settings name: found by its issuer, and kept for a while. */
export class OidcProvider {
  readonly #log: Log;
  readonly #redirectUri: string;
  #kept:
    | { readonly key: string; readonly atMs: number; readonly value: oidc.Configuration }
    | undefined;

  constructor({ publicUrl, log }: { readonly publicUrl: string; readonly log: Log }) {
    this.#log = log;
    this.#redirectUri = new URL("/login/oidc", publicUrl).href;
  }

  /** Where a browser goes to sign in. */
  async authorizationUrl(
    client: ProviderClient,
    { state, nonce, codeVerifier, scope }: OidcAttempt & { readonly scope: string },
  ): Promise<string> {
    const configuration = await this.#discover(client);
    const codeChallenge = await oidc.calculatePKCECodeChallenge(codeVerifier);
    return oidc.buildAuthorizationUrl(configuration, {
      ...{ scope, state, nonce, redirect_uri: this.#redirectUri },
      ...{ code_challenge: codeChallenge, code_challenge_method: "S256" },
    }).href;
  }

  /** Redeems what the provider handed back; refuses whatever does not belong to the attempt. */
  async claims(
    client: ProviderClient,
    { returned, attempt }: {
      readonly returned: Readonly<Record<string, string>>;
      readonly attempt: OidcAttempt;
    },
  ): Promise<Claims> {
    const configuration = await this.#discover(client);
    const address = new URL(this.#redirectUri);
    address.search = new URLSearchParams(returned).toString();
    try {
      const tokens = await oidc.authorizationCodeGrant(configuration, address, {
        pkceCodeVerifier: attempt.codeVerifier,
        expectedState: attempt.state,
        expectedNonce: attempt.nonce,
        idTokenExpected: true,
      });
      const claims = tokens.claims();
      if (!claims) throw new Error("Cannot sign in: the provider sent no ID token");
      if (!configuration.serverMetadata().userinfo_endpoint) return claims;
      // Many providers keep groups and names out of the ID token.
      const more = await oidc.fetchUserInfo(configuration, tokens.access_token, claims.sub);
      return { ...more, ...claims };
    } catch (error) {
      throw this.#refusal(error);
    }
  }

  async #discover(client: ProviderClient): Promise<oidc.Configuration> {
    const key = JSON.stringify([client.issuer, client.clientId, client.clientSecret]);
    const kept = this.#kept;
    if (kept?.key === key && performance.now() - kept.atMs < KEEP_MS) return kept.value;
    try {
      const value = await discover(client);
      this.#kept = { key, atMs: performance.now(), value };
      return value;
    } catch (error) {
      this.#note("Cannot find the OpenID provider", error);
      throw away(error);
    }
  }

  #refusal(error: unknown): ProblemError {
    this.#note("Cannot sign in by the OpenID provider", error);
    const isAnswer = error instanceof oidc.ClientError || error instanceof oidc.ResponseBodyError;
    return isAnswer ? refusedByProvider(error) : away(error);
  }

  #note(message: string, error: unknown): void {
    this.#log({ level: "warn", message, ...describeError(error) });
  }
}

function discover({ issuer, clientId, clientSecret }: ProviderClient): Promise<oidc.Configuration> {
  const url = new URL(issuer);
  const authentication = clientSecret === undefined
    ? oidc.None()
    : oidc.ClientSecretBasic(clientSecret);
  return oidc.discovery(url, clientId, undefined, authentication, {
    timeout: TIMEOUT_SECONDS,
    execute: isLoopback(url) ? [oidc.allowInsecureRequests] : [],
  });
}

function refusedByProvider(cause: unknown): ProblemError {
  const detail =
    "The OpenID provider did not accept what it had handed out, or it was no answer to this browser.";
  return new ProblemError("sign-in-refused", detail, { cause });
}

function away(cause: unknown): ProblemError {
  return new ProblemError("provider-away", "The OpenID provider cannot be asked.", {
    ...{ cause, retryAfterSeconds: TIMEOUT_SECONDS },
  });
}

import { createHmac, timingSafeEqual } from "node:crypto";

/**
 * What ties a sign-in together from its start to its end (state, nonce, PKCE verifier), all computed from one secret that
 * only the browser keeps, in a cookie: any replica can finish what another began, and strangers fill no table.
 */
export interface OidcAttempt {
  readonly state: string;
  readonly nonce: string;
  /** 43 characters, as RFC 7636 asks for at least. */
  readonly codeVerifier: string;
}

export function attemptOf(secret: string): OidcAttempt {
  const derive = (name: string) => createHmac("sha256", secret).update(name).digest("base64url");
  return { state: derive("state"), nonce: derive("nonce"), codeVerifier: derive("verifier") };
}

/** Whether a provider's answer belongs to this browser: else a stranger could log somebody in as themselves. */
export function isStateOf({ state }: OidcAttempt, given: string): boolean {
  const [own, other] = [new TextEncoder().encode(state), new TextEncoder().encode(given)];
  return own.length === other.length && timingSafeEqual(own, other);
}

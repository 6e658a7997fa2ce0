import { Secret, TOTP } from "otpauth";

/** 160 bits, as RFC 4226 recommends; authenticators know no other digest than SHA-1 for certain. */
const SECRET_BYTES = 20;
const FORM = { algorithm: "SHA1", digits: 6, period: 30 } as const;
/** Steps before and after the present one, for clocks that go wrong and people who type slowly (RFC 6238, 5.2). */
const WINDOW_STEPS = 1;

/** A new secret for an authenticator. */
export function newTotpSecret(): Uint8Array<ArrayBuffer> {
  return crypto.getRandomValues(new Uint8Array(SECRET_BYTES));
}

/** A secret as an authenticator scans it, and as it is typed. */
export function showTotpSecret(secret: Uint8Array<ArrayBuffer>, label: string) {
  const totp = totpOf(secret, { issuer: "Rookery", label });
  return { otpauthUrl: totp.toString(), secret: totp.secret.base32 };
}

/** The step of time whose code this is, as far as it is near enough to now; undefined for a wrong code. */
export function findStep(
  secret: Uint8Array<ArrayBuffer>,
  { code, nowMs }: { readonly code: string; readonly nowMs: number },
): number | undefined {
  const totp = totpOf(secret);
  const delta = totp.validate({ token: code, timestamp: nowMs, window: WINDOW_STEPS });
  return delta === null ? undefined : totp.counter({ timestamp: nowMs }) + delta;
}

function totpOf(secret: Uint8Array<ArrayBuffer>, names: { issuer?: string; label?: string } = {}) {
  return new TOTP({ ...FORM, ...names, secret: new Secret({ buffer: secret.buffer }) });
}

import { digestSecret } from "../http/secret_token.ts";

const CODES = 10;
const ALPHABET = "abcdefghijklmnopqrstuvwxyz234567";

/** Codes for whoever has lost their authenticator: `abcd-efgh-ijkl-mnop`, each of 80 bits. */
export function newRecoveryCodes(): readonly string[] {
  return Array.from({ length: CODES }, () => {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    const code = Array.from(bytes, (byte) => ALPHABET.charAt(byte % ALPHABET.length)).join("");
    return code.match(/.{4}/g)?.join("-") ?? code;
  });
}

/** What is stored instead. Nobody tries 80 random bits out, so it need not be slow, as for a password. */
export function digestRecoveryCode(code: string): string {
  return digestSecret(code.replaceAll("-", ""));
}

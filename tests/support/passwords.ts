/** The thread that hashes passwords, one for all control planes of an isolate. */
import { type Passwords, startPasswords } from "../../control-plane/users/passwords.ts";

/** Who every file of tests begins with, and the hash, which takes a quarter of a second to make. */
export const ADMINISTRATOR = { username: "admin", password: "correct horse battery" } as const;
export const ADMINISTRATOR_HASH =
  "$argon2id$v=19$m=47104,t=1,p=1$YwxA419LAZzuefWBr4WhZg$E6jnV0Z79ynA+hWvHMXK+Kzvf/1i1Ie5pnU1T+eRFIQ";

let shared: Passwords | undefined;

/**
 * Hashes and checks as ever, but knows the administrator's hash. It ends with the isolate. Call it outside of tests, where a
 * thread that stays is no leak.
 */
export function sharedPasswords(): Passwords {
  return shared ??= remembering(startPasswords());
}

function remembering(passwords: Passwords): Passwords {
  return {
    ...passwords,
    hash: (password) =>
      password === ADMINISTRATOR.password
        ? Promise.resolve(ADMINISTRATOR_HASH)
        : passwords.hash(password),
  };
}

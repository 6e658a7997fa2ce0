/** The thread that hashes passwords, one for all control planes of an isolate. */
import { type Passwords, startPasswords } from "../../control-plane/users/passwords.ts";

let shared: Passwords | undefined;

/**
 * Hashes and checks as ever, but hashes `known` once: each file of tests begins with the same administrator, whose hash takes
 * a quarter of a second. It ends with the isolate. Call it outside of tests, where a thread that stays is no leak.
 */
export function sharedPasswords(known: string): Passwords {
  return shared ??= remembering(startPasswords(), known);
}

function remembering(passwords: Passwords, known: string): Passwords {
  let hash: Promise<string> | undefined;
  return {
    ...passwords,
    hash: (password) =>
      password === known ? hash ??= passwords.hash(known) : passwords.hash(password),
  };
}

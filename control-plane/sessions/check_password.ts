import { ProblemError } from "@rookery/shared/problem.ts";
import type { Passwords } from "../users/passwords.ts";
import { findUserByName, type ShownUser } from "../users/store.ts";
import { checkGuess, type Guesser, type GuessServices } from "./guess.ts";

export interface PasswordServices extends GuessServices {
  readonly passwords: Passwords;
}

/** One answer, after the same work, for an unknown name, a wrong password and a disabled user. */
export async function checkPassword(
  services: PasswordServices,
  guess: Guesser & { readonly password: string },
): Promise<ShownUser> {
  const { db, passwords } = services;
  const user = await checkGuess(services, guess, async () => {
    const user = await findUserByName(db, guess.username);
    const matches = await passwords.matches(guess.password, user?.passwordHash);
    return user && matches && user.disabledAt === null ? { found: user, isLast: true } : undefined;
  });
  if (user) return user;
  throw new ProblemError("invalid-credentials", "The user name or the password is wrong.");
}

import { ProblemError } from "@rookery/shared/problem.ts";
import type { UserCaller } from "../http/caller.ts";
import type { SessionCookie } from "../http/cookie.ts";
import type { RouteContext } from "../http/route.ts";
import type { Passwords } from "../users/passwords.ts";
import { findUserByName, type ShownUser } from "../users/store.ts";
import { checkGuess, type Guesser, type GuessServices } from "./guess.ts";

export interface PasswordServices extends GuessServices {
  readonly passwords: Passwords;
  readonly cookie: SessionCookie;
}

type Origin = Pick<RouteContext, "address" | "requestId" | "request">;

/** Where a guess comes from. */
export function guesserOf(
  { cookie }: Pick<PasswordServices, "cookie">,
  { address, requestId, request }: Origin,
): Omit<Guesser, "username"> {
  return { address, requestId, browser: cookie.readBrowser(request) };
}

interface Guess {
  readonly username: string;
  readonly password: string;
  readonly context: Origin;
}

/**
 * The first step of a login. One answer, after the same work, for an unknown name, a wrong password and a disabled user.
 * Where a code is asked for next, it does not take back what failed before: else each right password would buy more guesses
 * at the code.
 */
export async function checkPassword(
  services: PasswordServices,
  guess: Guess,
): Promise<ShownUser> {
  return await compare(services, guess, ({ hasSecondFactor }) => !hasSecondFactor);
}

/** One's own password, asked for once more of who is logged in. */
export async function checkOwnPassword(
  services: PasswordServices,
  { password, context }: {
    readonly password: string;
    readonly context: Origin & { readonly caller: UserCaller };
  },
): Promise<ShownUser> {
  const { username } = context.caller;
  return await compare(services, { username, password, context }, () => true);
}

async function compare(
  services: PasswordServices,
  { username, password, context }: Guess,
  isLast: (user: ShownUser) => boolean,
): Promise<ShownUser> {
  const { db, passwords } = services;
  const guesser = { username, ...guesserOf(services, context) };
  const user = await checkGuess(services, guesser, async () => {
    const user = await findUserByName(db, username);
    const matches = await passwords.matches(password, user?.passwordHash);
    if (!user || !matches || user.disabledAt !== null) return undefined;
    return { found: user, isLast: isLast(user) };
  });
  if (user) return user;
  throw new ProblemError("invalid-credentials", "The user name or the password is wrong.");
}

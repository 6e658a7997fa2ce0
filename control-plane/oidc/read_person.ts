import { z } from "zod";
import { DisplayName, EmailAddress, Username } from "@rookery/shared/api/users.ts";
import { digestSecret } from "../http/secret_token.ts";
import type { Claims } from "./provider.ts";

/** A person as a provider describes them, in our forms. */
export interface ProviderPerson {
  readonly subject: string;
  readonly username: string;
  readonly displayName: string;
  /** Only one that the provider has verified: anybody can type another person's address. */
  readonly email: string | null;
  readonly groups: readonly string[];
}

/** Reads the claims of a person; what does not have our form is left out or bent into it. */
export function readPerson(claims: Claims, groupsClaim: string): ProviderPerson {
  const { sub: subject, name, email, email_verified: isVerified } = claims;
  return {
    subject,
    username: usernameOf(claims),
    displayName: DisplayName.safeParse(name).data ?? "",
    email: isVerified === true ? EmailAddress.safeParse(email).data ?? null : null,
    groups: groupsOf(claims[groupsClaim]),
  };
}

/** A list of names, or one name alone. */
function groupsOf(claim: unknown): readonly string[] {
  return z.array(z.string()).safeParse(typeof claim === "string" ? [claim] : claim).data ?? [];
}

function usernameOf(claims: Claims): string {
  for (const claim of [claims.preferred_username, claims.email]) {
    if (typeof claim !== "string") continue;
    const bent = claim.trim().replaceAll(/[^A-Za-z0-9._@-]/g, "-").slice(0, 64);
    if (Username.safeParse(bent).success) return bent;
  }
  return `user-${digestSecret(claims.sub).slice(0, 12)}`;
}

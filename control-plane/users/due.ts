import type { Due } from "@rookery/shared/api/access.ts";

/** What there is to be done by a person. */
export interface Duties {
  /** Their password was right, and the code is still to come. */
  readonly awaitsCode: boolean;
  readonly mustChangePassword: boolean;
  /** The installation demands a second factor, and they have none. */
  readonly mustEnrol: boolean;
}

/** What of it comes first. API tokens wait for a new password alone: no one is there who could hold an authenticator. */
export function dueOf(duties: Duties): Due | undefined {
  if (duties.awaitsCode) return "second_factor";
  if (duties.mustChangePassword) return "new_password";
  return duties.mustEnrol ? "second_factor_enrolment" : undefined;
}

import type { Due } from "@rookery/shared/api/access.ts";

/** What a person has to do before they, or their API tokens, do anything else. */
export function dueOf(user: { readonly mustChangePassword: boolean }): Due | undefined {
  return user.mustChangePassword ? "new_password" : undefined;
}

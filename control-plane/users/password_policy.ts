import { refusedField } from "@rookery/shared/problem.ts";
import type { LiveSettings } from "../settings/live_settings.ts";

/** Refuses a password that is too short for this installation; what every installation asks for, its schema did. */
export async function checkNewPassword(
  settings: Pick<LiveSettings, "read">,
  password: string,
  field: "password" | "newPassword" = "password",
): Promise<void> {
  const least = (await settings.read())["security.password_min_length"];
  if (password.length >= least) return;
  const pointer = `#/${field}`;
  const detail = `must have at least ${least} characters`;
  throw refusedField(pointer, detail);
}

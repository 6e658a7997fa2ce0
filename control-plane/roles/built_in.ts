import { RoleId } from "@rookery/shared/ids.ts";

/** The built-in role of administrators (migration 0025). Who has it stands in `users.administrator` alone. */
export const ADMINISTRATOR_ROLE = RoleId.parse("00000000-0000-7000-8000-000000000001");

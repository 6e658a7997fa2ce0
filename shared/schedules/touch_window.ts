import type { z } from "zod";
import { DayWindow } from "./day_window.ts";

/** When a device may be touched, by the wall clock of its site. */
export const TouchWindow = DayWindow.meta({ id: "TouchWindow" });
export type TouchWindow = z.infer<typeof TouchWindow>;

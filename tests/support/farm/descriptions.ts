import type { Random } from "./random.ts";

const TEXTS = [
  "uplink to the distribution switch",
  "Büro Zürich, 2. Stock – Dose 14",
  "サーバー室 ラック三番",
  "printer room (do not shut)",
  "łącze zapasowe → oddział Gdańsk",
  "was: Serial# 0815, now spare",
  "customer 4711 / 100% prepaid",
] as const;

/** A description for an interface: now and then UTF-8, very long, or like a prompt. */
export function describe(random: Random, hostname: string): string {
  const kind = random.integer(0, 19);
  if (kind === 0) return `${hostname}#`;
  if (kind === 1) return `long ${"abcdefghi ".repeat(22)}end of it`;
  if (kind === 2) return "--More-- of the same";
  return random.pick(TEXTS);
}

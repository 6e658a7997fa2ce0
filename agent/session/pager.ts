import type { Driver } from "@rookery/shared/drivers/driver.ts";
import { PAGERS } from "@rookery/shared/drivers/pagers.ts";
import { DeviceError } from "../ssh/ssh_failure.ts";
import { type Console, SETTLE_MS, type Sighting } from "./console.ts";

/** So many questions in a row without a line in between are one pager that does not go away. */
const MAX_WITHOUT_LINES = 10;
/** A configuration repeats lines, but not whole pages as often as this. */
const MAX_SAME_PAGE = 4;

/** A pattern of a pager, ready to try, and the key that makes the device go on. */
export interface PagerPattern {
  readonly pattern: RegExp;
  readonly answer: string;
}

/** The key to press at a pager that was seen. */
export interface PagerAnswer {
  readonly answer: string;
}

/** The driver's pagers and after them the general ones. */
export function compilePagers(driver: Driver): readonly PagerPattern[] {
  return [...driver.pagers, ...PAGERS].map(({ pattern, answer }) => ({
    pattern: new RegExp(pattern),
    answer,
  }));
}

/** The pager that the unfinished last line is. */
export function seePager(
  pagers: readonly PagerPattern[],
  tail: string,
): Sighting<PagerAnswer> | undefined {
  if (tail === "") return undefined;
  const found = pagers.find(({ pattern }) => pattern.test(tail));
  return found && { seen: { answer: found.answer }, settleMs: SETTLE_MS };
}

/**
 * Answers pagers, and throws `pager_stuck` for one that brings no more lines or that begins again at the top:
 * the same page, and not just the same line over and over, seen too often.
 */
export function pagerTurner(console: Console): (pager: PagerAnswer) => void {
  const seen = new Map<number, number>();
  let turnsWithoutLines = 0;
  let linesBefore = 0;
  return ({ answer }) => {
    const page = console.screen.lines.slice(linesBefore).filter((line) => line !== "");
    linesBefore = console.screen.lines.length;
    turnsWithoutLines = page.length > 0 ? 0 : turnsWithoutLines + 1;
    const digest = digestOf(page);
    const times = new Set(page).size > 2 ? (seen.get(digest) ?? 0) + 1 : 0;
    seen.set(digest, times);
    if (turnsWithoutLines >= MAX_WITHOUT_LINES || times >= MAX_SAME_PAGE) {
      throw new DeviceError("pager_stuck", "The device's pager shows the same again and again");
    }
    console.screen.erasePager();
    console.send(answer);
  };
}

/** 53 bits of an FNV-like digest: pages are only counted, and keeping them would double the memory. */
function digestOf(page: readonly string[]): number {
  let high = 0x811c9dc5;
  let low = page.length;
  for (const line of page) {
    for (let index = 0; index < line.length; index++) {
      high = Math.imul(high ^ line.charCodeAt(index), 0x01000193);
      low = Math.imul(low + line.charCodeAt(index), 0x85ebca6b) ^ (high >>> 13);
    }
    low = Math.imul(low ^ 10, 0xc2b2ae35);
  }
  return (high >>> 0) * 0x200000 + (low >>> 11);
}

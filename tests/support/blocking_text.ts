/** Takes twice as long for each further letter. */
export const SLOW_PATTERN = "^((a+)+)$";
const SLOW_LINE = `${"a".repeat(23)}!\n`;

/** How often the slow line must be read to keep the pattern busy for a millisecond on this machine. */
function measureLinesPerMs(): number {
  const pattern = new RegExp(SLOW_PATTERN);
  // The first one is compiled for, and takes several times as long as the others.
  const times = Array.from({ length: 6 }, () => {
    const startedAt = performance.now();
    pattern.test(SLOW_LINE.trimEnd());
    return performance.now() - startedAt;
  });
  return 1 / Math.min(...times);
}
const LINES_PER_MS = measureLinesPerMs();

/**
 * A text that keeps the pattern busy for about so many ms of a processor. No more than a test needs, for nothing stops a
 * thread in the middle of it: it goes on using a core beside the tests that follow.
 */
export function blockingText(ms: number): string {
  return SLOW_LINE.repeat(Math.ceil(ms * LINES_PER_MS));
}

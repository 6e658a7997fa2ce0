/** Runs while a timer of 10 ms ticks, and tells the longest time, in ms, that it did not. */
export async function longestSilence(run: () => Promise<unknown>): Promise<number> {
  let last = performance.now();
  let gap = 0;
  const tick = () => {
    const now = performance.now();
    gap = Math.max(gap, now - last);
    last = now;
  };
  const timer = setInterval(tick, 10);
  try {
    await run();
    tick();
    return gap;
  } finally {
    clearInterval(timer);
  }
}

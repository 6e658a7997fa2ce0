/** Preloaded into a process whose wall clock jumps, forwards and backwards, every few seconds, by up to days. */
const SystemDate = Date;
const EVERY_MS = 4_000;
const HOUR_MS = 3_600_000;
const SHIFTS_MS = [0, HOUR_MS, -HOUR_MS, 90 * HOUR_MS, -2_000, 30_000, -90 * HOUR_MS];

function shiftNow(): number {
  return SHIFTS_MS[Math.floor(performance.now() / EVERY_MS) % SHIFTS_MS.length] ?? 0;
}

class JumpingDate extends SystemDate {
  // Only "now" jumps; what names an instant names the same one.
  constructor(...args: [] | [number | string | Date]) {
    const [first = JumpingDate.now(), ...rest] = args;
    super(...[first, ...rest] as [number]);
  }

  static override now(): number {
    return SystemDate.now() + shiftNow();
  }
}

Object.defineProperty(globalThis, "Date", { value: JumpingDate, writable: true });

/** Preloaded into a process whose wall clock is to be wrong: `--preload=file:///…/shifted_clock.ts?hours=-1`. */
const SystemDate = Date;
const shiftMs = Number(new URL(import.meta.url).searchParams.get("hours")) * 3_600_000;

class ShiftedDate extends SystemDate {
  // Only "now" is shifted; what names an instant names the same one.
  constructor(...args: [] | [number | string | Date]) {
    const [first = ShiftedDate.now(), ...rest] = args;
    super(...[first, ...rest] as [number]);
  }

  static override now(): number {
    return SystemDate.now() + shiftMs;
  }
}

Object.defineProperty(globalThis, "Date", { value: ShiftedDate, writable: true });

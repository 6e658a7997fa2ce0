/** A timer that fires this much late says that this process was busy, not that the device was slow. */
const LATE_MS = 50;

export interface PatientTimer {
  cancel(): void;
}

/**
 * Calls `due` after `ms` without cancellation. When the event loop was blocked meanwhile, what the device sent may lie
 * unread in the socket: then it waits on for as long as the block lasted, so that it is read first. All such patience
 * together is never more than `ms` once more.
 */
export function startPatientTimer(ms: number, due: () => void): PatientTimer {
  let patienceMs = ms;
  let dueAt = performance.now() + ms;
  let timer = setTimeout(look, ms);
  function look(): void {
    const lateMs = performance.now() - dueAt;
    const extraMs = Math.min(lateMs, patienceMs);
    if (lateMs < LATE_MS || extraMs < 1) return due();
    patienceMs -= extraMs;
    dueAt = performance.now() + extraMs;
    timer = setTimeout(look, extraMs);
  }
  return { cancel: () => clearTimeout(timer) };
}

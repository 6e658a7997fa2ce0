import { startPatientTimer } from "./patient_timer.ts";
import { abortError, type DeviceError } from "./ssh_failure.ts";

/** Waits for `work`, but no longer than `seconds` and not after `signal`; the work itself is the caller's to stop. */
export async function within<T>(
  work: Promise<T>,
  options: {
    readonly signal: AbortSignal;
    readonly seconds: number;
    readonly onTimeout: () => DeviceError;
  },
): Promise<T> {
  // Once the wait is over nobody listens to the work any more, and a late rejection must not end the process.
  work.catch(() => {});
  const { signal } = options;
  if (signal.aborted) throw abortError(signal);
  const stop = Promise.withResolvers<never>();
  const onAbort = () => stop.reject(abortError(signal));
  const timer = startPatientTimer(
    options.seconds * 1_000,
    () => stop.reject(options.onTimeout()),
  );
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([work, stop.promise]);
  } finally {
    timer.cancel();
    signal.removeEventListener("abort", onAbort);
  }
}

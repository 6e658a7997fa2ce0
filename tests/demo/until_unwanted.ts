const LOOK_MS = 250;

/**
 * Resolves when nobody wants this program any more: Ctrl-C, a signal, or the end of the process that started it. Somebody
 * who kills `deno task` alone would otherwise leave the whole demo running.
 */
export async function untilUnwanted(): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    Deno.addSignalListener(signal, () => resolve());
  }
  const parent = Deno.ppid;
  const timer = setInterval(() => Deno.ppid === parent || resolve(), LOOK_MS);
  await promise;
  clearInterval(timer);
}

import { AsyncLocalStorage } from "node:async_hooks";

const turns = new AsyncLocalStorage<() => void>();

/** Runs a session so that `markTurn()` anywhere below it tells `mark` whose turn it is on the event loop. */
export function withTurns<Result>(mark: () => void, run: () => Promise<Result>): Promise<Result> {
  return turns.run(mark, run);
}

/**
 * To be called before work whose length a device decides: who called it last is to blame when the loop stands still
 * after it. Throws when the session is to touch its device no more. Does nothing where nobody watches.
 */
export function markTurn(): void {
  turns.getStore()?.();
}

/** `markTurn()` for callbacks that run outside the session's own flow, as those of a socket do. */
export function turnMarker(): () => void {
  return turns.getStore() ?? (() => {});
}

/**
 * The one thread for large texts: a hostile one of 20 MB takes seconds, which the thread that answers heartbeats
 * cannot afford. Messages in: a `TextOrder`, one at a time; out: that it is ready, then a `TextAnswer` to each.
 */
import { doTextWork, type TextWork } from "./text_work.ts";

/** One piece of work. */
export type TextOrder = {
  readonly [K in keyof TextWork]: { readonly kind: K; readonly input: TextWork[K]["input"] };
}[keyof TextWork];

/** What came of it, or why nothing did. */
export type TextAnswer =
  | { readonly output: TextWork[keyof TextWork]["output"] }
  | { readonly failure: string };

/** What the thread says: first that it has loaded. */
export type TextMessage = TextAnswer | { readonly ready: true };

/** Without the worker's own library: this file is type-checked with the rest. */
interface WorkerScope {
  onmessage: ((event: MessageEvent<TextOrder>) => void) | null;
  postMessage(message: TextMessage): void;
}

async function answer({ kind, input }: TextOrder): Promise<TextAnswer> {
  try {
    return { output: await doTextWork(kind, input) };
  } catch (error) {
    return { failure: error instanceof Error ? error.message : String(error) };
  }
}

const scope = globalThis as unknown as WorkerScope;
scope.onmessage = async ({ data }) => scope.postMessage(await answer(data));
scope.postMessage({ ready: true });

import { sizeOf, TextThread, type TextThreadOptions } from "./text_thread.ts";
import { doTextWork, textsOf, type TextWork } from "./text_work.ts";

/** Does work on texts without holding up whoever else waits for this thread. */
export interface Texts extends Disposable {
  /** Throws a TextTooSlowError when it takes too long, and refuses when too much waits already. */
  run<K extends keyof TextWork>(
    kind: K,
    input: TextWork[K]["input"],
  ): Promise<TextWork[K]["output"]>;
}

/** The other thread starts with the first large text. Dispose it to stop: what still waits is refused. */
export function startTexts(options: TextThreadOptions = {}): Texts {
  const thread = new TextThread(options);
  return {
    run: (kind, input) => isSlow(input) ? thread.run(kind, input) : doTextWork(kind, input),
    [Symbol.dispose]: () => thread.stop(),
  };
}

/** A message to the other thread costs more than the work on a smaller text. */
const LARGE_BYTES = 262_144;

/** Some patterns take time by the square of a line's length. Hardly a line of a real configuration is as long. */
const LONG_LINE = 1_000;

function isSlow(input: TextWork[keyof TextWork]["input"]): boolean {
  return sizeOf(input) > LARGE_BYTES || textsOf(input).some(({ bytes }) => hasLongLine(bytes));
}

function hasLongLine(bytes: Uint8Array): boolean {
  let start = 0;
  for (let end = bytes.indexOf(10); end >= 0; end = bytes.indexOf(10, start)) {
    if (end - start > LONG_LINE) return true;
    start = end + 1;
  }
  return bytes.length - start > LONG_LINE;
}

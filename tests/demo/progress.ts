const WIDTH = 30;

export interface Progress {
  readonly tried: number;
  readonly of: number;
  readonly failed: number;
}

/** A bar that redraws itself on a terminal, and a line every tenth elsewhere; nothing at all when quiet. */
export function makeProgressBar(
  title: string,
  options: { quiet: boolean },
): (now: Progress) => void {
  const terminal = Deno.stderr.isTerminal();
  let shown = -1;
  return ({ tried, of, failed }) => {
    const tenth = of === 0 ? 10 : Math.floor((tried / of) * 10);
    if (options.quiet || (!terminal && tenth === shown)) return;
    shown = tenth;
    const filled = of === 0 ? WIDTH : Math.round((tried / of) * WIDTH);
    const bar = `${"█".repeat(filled)}${"░".repeat(WIDTH - filled)}`;
    const text = `${title}  ${bar}  ${tried}/${of} tried, ${failed} failed`;
    const end = !terminal || tried === of ? "\n" : "";
    write(`${terminal ? "\r" : ""}${text}${end}`);
  };
}

function write(text: string): void {
  Deno.stderr.writeSync(new TextEncoder().encode(text));
}

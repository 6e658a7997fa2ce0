/** Plays the cells round by round, the queues in turn, so that a busy moment of the machine meets none of them alone. */
import type { Cell, Measured, Scale } from "./cells.ts";
import type { BenchServer } from "./bench_server.ts";
import type { Contender } from "./contender.ts";

/** One queue in one cell, over all rounds. */
export interface Result {
  readonly cell: string;
  readonly title: string;
  readonly queue: string;
  readonly promises: string;
  readonly rounds: readonly Measured[];
}

export interface Play {
  readonly cells: readonly Cell[];
  readonly contenders: readonly Contender[];
  readonly rounds: number;
  readonly scale: Scale;
  readonly step: (text: string) => void;
}

export async function playRounds(
  server: BenchServer,
  { cells, contenders, rounds, scale, step }: Play,
): Promise<readonly Result[]> {
  const results: Result[] = [];
  for (const cell of cells) {
    const playing = contenders.filter(cell.suits);
    const measured = new Map(playing.map(({ name }) => [name, [] as Measured[]]));
    for (let round = 0; round < rounds; round++) {
      // Forwards and backwards: none of them always comes after the same one.
      for (const contender of round % 2 === 0 ? playing : playing.toReversed()) {
        step(`${cell.title(scale)}, round ${round + 1}: ${contender.name}`);
        measured.get(contender.name)?.push(await playOne(server, { cell, contender, scale }));
      }
    }
    for (const { name: queue, promises } of playing) {
      const of = { cell: cell.name, title: cell.title(scale), queue, promises };
      results.push({ ...of, rounds: measured.get(queue) ?? [] });
    }
  }
  return results;
}

async function playOne(
  server: BenchServer,
  { cell, contender, scale }: {
    readonly cell: Cell;
    readonly contender: Contender;
    readonly scale: Scale;
  },
): Promise<Measured> {
  return await server.inDatabase(async (address, admin) => {
    await using queue = await contender.open(address, admin);
    return await cell.run(queue, admin, scale);
  });
}

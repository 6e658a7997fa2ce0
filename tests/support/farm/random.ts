/** A seeded source of variety: the same seed gives the same farm, on every machine. */
export interface Random {
  /** An integer from `low` to `high`, both included. */
  integer(low: number, high: number): number;
  pick<T>(list: readonly [T, ...T[]]): T;
  /** `length` characters of `alphabet`. */
  text(length: number, alphabet?: string): string;
}

const LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789";

/** Makes a generator (mulberry32) that is good enough for variety and for nothing else. */
export function makeRandom(seed: number): Random {
  let state = seed >>> 0;
  function next(): number {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  }
  function integer(low: number, high: number): number {
    return low + Math.floor(next() * (high - low + 1));
  }
  return {
    integer,
    pick: (list) => list[integer(0, list.length - 1)] ?? list[0],
    text: (length, alphabet = LETTERS) =>
      Array.from({ length }, () => alphabet[integer(0, alphabet.length - 1)]).join(""),
  };
}

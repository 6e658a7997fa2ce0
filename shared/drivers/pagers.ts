/** A question at which output stops until a key is pressed: what it looks like and the key that goes on. */
export interface PagerText {
  readonly pattern: string;
  readonly answer: string;
  /** Banners and descriptions hold the same words: in a finished text it proves nothing. */
  readonly inText?: true;
}

/**
 * The pagers that devices use although they were told not to, tried on the unfinished last line after the
 * driver's own. Each is the whole line: a description that mentions one must not be taken for it.
 */
export const PAGERS: readonly PagerText[] = [
  // IOS, NX-OS, EOS, FRR, FortiOS, Comware, VRP, ASA, Dell.
  { pattern: String.raw`^\s*<?-{2,4} ?[Mm](?:ore|ORE) ?-{2,4}>?\s*$`, answer: " " },
  { pattern: String.raw`^\s*-{2,4}\(more(?: \d+%)?\)-{2,4}\s*$`, answer: " " },
  // ProCurve: "-- MORE --, next page: Space, next line: Enter, quit: Control-C".
  { pattern: String.raw`^\s*-- MORE --, next page: Space\b.*$`, answer: " " },
  // less, as Onyx and VyOS use it.
  { pattern: String.raw`^lines \d+-\d+(?:/\d+ \(END\))?\s*$`, answer: " " },
  // EXOS: "Press <SPACE> to continue or <Q> to quit:".
  { pattern: String.raw`^\s*Press <SPACE> to continue or <Q> ?(?:uit|to quit).*$`, answer: " " },
  {
    pattern: String.raw`^\s*-?Press [Aa]ny [Kk]ey (?:[Tt]o continue|For More)[ .\-]*$`,
    answer: " ",
    inText: true,
  },
];

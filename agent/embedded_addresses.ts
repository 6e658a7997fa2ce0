import { isIPv4, isIPv6 } from "node:net";

/** An address as policies judge it: one spelling, and the IPv4 addresses that an IPv6 one may lead to. */
export interface JudgedAddress {
  readonly address: string;
  readonly embedded: readonly string[];
  /** Where it leads to under one reading of several. */
  readonly possible: readonly string[];
}

/** Reads an address; undefined for what is none. IPv4 that is only written as IPv6 (`::ffff:a.b.c.d`) is IPv4. */
export function readAddress(text: string): JudgedAddress | undefined {
  const bare = text.replace(/%.*$/, "");
  if (isIPv4(bare)) return { address: bare, embedded: [], possible: [] };
  if (!isIPv6(bare)) return undefined;
  const address = new URL(`http://[${bare}]/`).hostname.slice(1, -1);
  const words = wordsOf(address);
  if (startsWith(words, [0, 0, 0, 0, 0, 0xffff])) {
    return { address: dotted(words[6], words[7]), embedded: [], possible: [] };
  }
  const possible = startsWith(words, [0x64, 0xff9b, 1]) ? localTranslated(words) : [];
  return { address, embedded: embeddedIn(words), possible };
}

/** Ways in which an IPv6 address carries IPv4 ones: how it begins, and where they stand in it. */
const CARRIERS: readonly {
  readonly prefix: readonly number[];
  readonly read: (words: readonly number[]) => readonly string[];
}[] = [
  // IPv4-compatible (RFC 4291, 2.5.5.1), SIIT (RFC 2765) and NAT64 (RFC 6052): the last 32 bits.
  { prefix: [0, 0, 0, 0, 0, 0], read: (words) => [last(words)] },
  { prefix: [0, 0, 0, 0, 0xffff, 0], read: (words) => [last(words)] },
  { prefix: [0x64, 0xff9b, 0, 0, 0, 0], read: (words) => [last(words)] },
  // 6to4 (RFC 3056): the 32 bits after the prefix.
  { prefix: [0x2002], read: (words) => [dotted(words[1], words[2])] },
  // Teredo (RFC 4380): its server, and its client with every bit turned round.
  {
    prefix: [0x2001, 0],
    read: (words) => [
      dotted(words[2], words[3]),
      dotted((words[6] ?? 0) ^ 0xffff, (words[7] ?? 0) ^ 0xffff),
    ],
  },
];

function embeddedIn(words: readonly number[]): readonly string[] {
  // `::` and `::1` are addresses of their own.
  if (startsWith(words, [0, 0, 0, 0, 0, 0, 0]) && (words[7] ?? 0) <= 1) return [];
  const carried = CARRIERS.filter(({ prefix }) => startsWith(words, prefix))
    .flatMap(({ read }) => read(words));
  return isIsatap(words) ? [...carried, last(words)] : carried;
}

/** ISATAP (RFC 5214, 6.1): an interface identifier that ends in IPv4. */
function isIsatap(words: readonly number[]): boolean {
  return words[5] === 0x5efe && ((words[4] ?? 0) & ~0x0200) === 0;
}

/**
 * NAT64 of one's own network (RFC 8215), by RFC 6052, section 2.2: the octet at bit 64 is skipped. Of which length the prefix is, only the translator knows, so
 * all that the zeros at the end allow are named; what begins with 0 is no host and left out.
 */
function localTranslated(words: readonly number[]): readonly string[] {
  const bytes = words.flatMap((word) => [word >> 8, word & 0xff]);
  const after = (from: number, zeros: number) => {
    if (bytes.slice(zeros).some((byte) => byte !== 0)) return undefined;
    const host = bytes.slice(from).filter((_, index) => from + index !== 8).slice(0, 4);
    return host.join(".");
  };
  const found = [after(6, 11), after(7, 12), after(9, 13), bytes.slice(12).join(".")];
  return found.filter((address) => address !== undefined && !address.startsWith("0."))
    .map(String);
}

function startsWith(words: readonly number[], prefix: readonly number[]): boolean {
  return prefix.every((word, index) => words[index] === word);
}

function last(words: readonly number[]): string {
  return dotted(words[6], words[7]);
}

function dotted(high = 0, low = 0): string {
  return [high >> 8, high & 255, low >> 8, low & 255].join(".");
}

/** The eight words of an IPv6 address in its canonical spelling. */
function wordsOf(address: string): number[] {
  const [head = "", tail] = address.split("::");
  const parse = (part: string) =>
    part === "" ? [] : part.split(":").map((word) => parseInt(word, 16));
  const [first, rest] = [parse(head), parse(tail ?? "")];
  const zeros = tail === undefined ? 0 : 8 - first.length - rest.length;
  return [...first, ...Array<number>(zeros).fill(0), ...rest];
}

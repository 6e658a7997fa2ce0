/** A place in the outbox: everything before it has been seen. */
export interface Position {
  readonly xid: bigint;
  readonly id: bigint;
  /** How many of the changes of that very row have been seen. */
  readonly taken: number;
}

/** Whether one place comes before another. */
export function isBefore(left: Position, right: Position): boolean {
  if (left.xid !== right.xid) return left.xid < right.xid;
  return left.id === right.id ? left.taken < right.taken : left.id < right.id;
}

/** A place as readers are told it; `incarnation`, because a restored database counts its transactions anew. */
export function writePosition({ xid, id, taken }: Position, incarnation: number): string {
  return `${incarnation}-${xid}-${id}-${taken}`;
}

/** The place that `writePosition` wrote; undefined when it is none of this incarnation. */
export function readPosition(text: string, incarnation: number): Position | undefined {
  const match = /^(\d{1,10})-(\d{1,19})-(\d{1,18})-(\d{1,9})$/.exec(text);
  if (!match || match[1] !== String(incarnation)) return undefined;
  const [, , xid = "0", id = "0", taken = "0"] = match;
  return { xid: BigInt(xid), id: BigInt(id), taken: Number(taken) };
}

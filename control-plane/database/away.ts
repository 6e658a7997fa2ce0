/** Of postgres.js, of the socket below it, and of a server that starts, stops or crashes. */
const CODES: ReadonlySet<string> = new Set([
  "CONNECTION_CLOSED",
  "CONNECTION_DESTROYED",
  "CONNECTION_ENDED",
  "CONNECT_TIMEOUT",
  "ECONNREFUSED",
  "ECONNRESET",
  "EPIPE",
  "DATABASE_AWAY",
  "57014", // a statement that took longer than its time
  "57P01",
  "57P02",
  "57P03",
]);

/** Whether an error says no more than that the database is not there now: the same request may succeed a little later. */
export function isDatabaseAway(error: unknown): boolean {
  if (!(error instanceof Error) || !("code" in error)) return false;
  if (CODES.has(String(error.code))) return true;
  // The socket of a server that has gone; a missing file has the same code.
  return error.code === "ENOENT" && "syscall" in error && error.syscall === "connect";
}

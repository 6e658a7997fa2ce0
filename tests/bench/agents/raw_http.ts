/** HTTP/1.1 with as little as it takes: what the load costs is taken from the same two cores as what it is put on. */

export interface RawReply {
  readonly status: number;
  readonly body: string;
  header(name: string): string | undefined;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();
/** A reply without leases fits; ten thousand connections that wait have one each. */
const FIRST_BYTES = 2_048;

/** One kept-alive connection, one request at a time. */
export class RawConnection {
  readonly #port: number;
  #socket: Deno.TcpConn | undefined;
  #buffer = new Uint8Array(FIRST_BYTES);
  #ended = false;

  constructor(port: number) {
    this.#port = port;
  }

  /** Sends a request and waits for its reply; a connection that was closed meanwhile is opened again, once. */
  async send(request: string): Promise<RawReply> {
    const kept = this.#socket !== undefined;
    try {
      return await this.#sendOnce(request);
    } catch (error) {
      this.#drop();
      if (!kept || this.#ended || error instanceof CutReplyError) throw error;
      return await this.#sendOnce(request);
    }
  }

  async #sendOnce(request: string): Promise<RawReply> {
    const socket = this.#socket ??= await this.#open();
    const bytes = encoder.encode(request);
    for (let at = 0; at < bytes.length;) at += await socket.write(bytes.subarray(at));
    let length = 0;
    for (;;) {
      const read = await socket.read(this.#buffer.subarray(length));
      if (read === null) {
        if (length === 0) throw new Error("The connection was closed");
        throw new CutReplyError("The reply was cut");
      }
      length += read;
      const reply = parseReply(this.#buffer.subarray(0, length));
      if (reply) return reply;
      if (length === this.#buffer.length) this.#grow();
    }
  }

  async #open(): Promise<Deno.TcpConn> {
    const socket = await Deno.connect({ hostname: "127.0.0.1", port: this.#port });
    socket.setNoDelay(true);
    return socket;
  }

  #grow(): void {
    const larger = new Uint8Array(this.#buffer.length * 4);
    larger.set(this.#buffer);
    this.#buffer = larger;
  }

  /** Ends it for good, also what it waits for. */
  close(): void {
    this.#ended = true;
    this.#drop();
  }

  #drop(): void {
    try {
      this.#socket?.close();
    } catch {
      // Closed by the other side.
    }
    this.#socket = undefined;
  }
}

class CutReplyError extends Error {}

/** The reply, when all of it is there. */
function parseReply(bytes: Uint8Array): RawReply | undefined {
  const text = decoder.decode(bytes);
  const end = text.indexOf("\r\n\r\n");
  if (end < 0) return undefined;
  const head = text.slice(0, end + 2);
  const status = Number(head.slice(9, 12));
  const header = (name: string) => valueOf(head, name);
  const length = status === 204 ? 0 : Number(header("content-length") ?? Number.NaN);
  if (Number.isNaN(length)) throw new Error(`Cannot read a reply without a length:\n${head}`);
  const body = text.slice(end + 4);
  // Replies of the control plane to agents are ASCII, or nearly: few need to be measured in bytes.
  const received = body.length >= length ? body.length : encoder.encode(body).length;
  return received < length ? undefined : { status, body, header };
}

function valueOf(head: string, name: string): string | undefined {
  const lower = head.toLowerCase();
  const at = lower.indexOf(`\r\n${name}: `);
  if (at < 0) return undefined;
  const from = at + name.length + 4;
  return head.slice(from, head.indexOf("\r\n", from));
}

/** So many connections for all who ask only shortly. */
export class ConnectionPool {
  readonly #free: RawConnection[];
  readonly #all: readonly RawConnection[];
  readonly #waiting: ((connection: RawConnection) => void)[] = [];

  constructor(port: number, size: number) {
    this.#all = Array.from({ length: size }, () => new RawConnection(port));
    this.#free = [...this.#all];
  }

  async send(request: string): Promise<RawReply> {
    const connection = this.#free.pop() ??
      await new Promise<RawConnection>((resolve) => this.#waiting.push(resolve));
    try {
      return await connection.send(request);
    } finally {
      const next = this.#waiting.shift();
      if (next) next(connection);
      else this.#free.push(connection);
    }
  }

  close(): void {
    for (const connection of this.#all) connection.close();
  }
}

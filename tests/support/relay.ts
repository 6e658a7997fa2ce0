/** A link that can die in silence: it forwards TCP until it is told to swallow everything, and closes nothing. */
export interface Relay extends AsyncDisposable {
  readonly port: number;
  /** Bytes that came from whoever dialled. */
  readonly received: number;
  /** From now on nothing passes, in either direction, on connections old and new; none is closed. */
  stall(): void;
  /** Lets new connections through. What stalled stays dead, as it does when a router has forgotten it. */
  mend(): void;
}

export function startRelay(target: { hostname: string; port: number }): Relay {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const open = new Set<Deno.TcpConn>();
  const carried = new Set<Promise<void>>();
  let epoch = 0;
  let stalled = false;
  let received = 0;
  const carry = async (
    from: Deno.TcpConn,
    to: Deno.TcpConn | undefined,
    { isAlive, count: note = () => {} }: {
      isAlive: () => boolean;
      count?: (bytes: number) => void;
    },
  ) => {
    const buffer = new Uint8Array(65_536);
    try {
      for (let count = await from.read(buffer); count !== null; count = await from.read(buffer)) {
        note(count);
        for (let at = 0; to && isAlive() && at < count;) {
          at += await to.write(buffer.subarray(at, count));
        }
      }
      if (to && isAlive()) await to.closeWrite();
    } catch {
      // Closed by one of the ends, or by the test.
    }
  };
  const accept = async (near: Deno.TcpConn) => {
    const born = epoch;
    const isAlive = () => !stalled && born === epoch;
    open.add(near);
    const far = stalled ? undefined : await Deno.connect(target);
    if (far) open.add(far);
    const count = (bytes: number) => received += bytes;
    const ways = [carry(near, far, { isAlive, count })];
    if (far) ways.push(carry(far, near, { isAlive }));
    await Promise.all(ways);
    for (const one of far ? [near, far] : [near]) {
      open.delete(one);
      close(one);
    }
  };
  const accepting = (async () => {
    for await (const near of listener) {
      const done = accept(near).catch(() => {});
      carried.add(done);
      void done.finally(() => carried.delete(done));
    }
  })();
  return {
    port: listener.addr.port,
    get received() {
      return received;
    },
    stall() {
      stalled = true;
      epoch++;
    },
    mend: () => stalled = false,
    async [Symbol.asyncDispose]() {
      close(listener);
      await accepting;
      for (const one of open) close(one);
      await Promise.all(carried);
    },
  };
}

function close(one: { close(): void }): void {
  try {
    one.close();
  } catch {
    // Closed already.
  }
}

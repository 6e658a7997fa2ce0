import { DeviceError } from "../../agent/ssh/ssh_failure.ts";
import assert from "node:assert/strict";
import { createServer, type Socket } from "node:net";
import {
  connectTo,
  failure,
  PASSWORD,
  ROOMY,
  startSocketServer,
  startSshServer,
  type TestServer,
} from "./ssh_server.ts";

const IDENT = "SSH-2.0-Cisco-1.25\r\n";

async function portOfNobody(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  assert.ok(address && typeof address === "object");
  await new Promise<void>((resolve) => server.close(() => resolve()));
  return address.port;
}

Deno.test("connect() says that a port is closed", async () => {
  const port = await portOfNobody();
  const error = await failure(connectTo(port), "connection_refused");
  assert.match(error.message, new RegExp(`127\\.0\\.0\\.1:${port}`));
  assert.ok(error.cause instanceof Error);
});

Deno.test("connect() says that a name does not exist", async () => {
  await failure(connectTo(22, { host: "device.invalid" }), "address_unresolved");
});

Deno.test("connect() asks the local policy about the address behind a name, and goes to that one", async () => {
  await using server = await startSshServer();
  const asked: string[] = [];
  const refused = await failure(
    connectTo(server.port, {
      host: "localhost",
      allowAddress: (address) => {
        asked.push(address);
        return false;
      },
    }),
    "refused_by_agent_policy",
  );
  assert.ok(asked.includes("127.0.0.1") || asked.includes("::1"));
  assert.match(
    refused.message,
    /local policy forbids \S.*\. Allow .* policy\.networks in settings\.json/,
  );
  assert.equal(server.accepted, 0);
  await using _connection = await connectTo(server.port, {
    host: "localhost",
    allowAddress: (address) => address === "127.0.0.1",
  });
});

for (const host of ["::ffff:127.0.0.1", "::ffff:7f00:1", "0:0:0:0:0:FFFF:7F00:0001", "127.1"]) {
  Deno.test(`connect() shows the local policy the true address of ${host}`, async () => {
    const asked: string[] = [];
    const allowAddress = (address: string) => {
      asked.push(address);
      return false;
    };
    await failure(connectTo(22, { host, allowAddress }), "refused_by_agent_policy");
    assert.deepEqual(asked, ["127.0.0.1"]);
  });
}

Deno.test("connect() fails with connect_timed_out when nobody answers", async () => {
  // Nobody accepts here, and the kernel drops what comes after a full queue, as a firewall would.
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0, tcpBacklog: 1 });
  const { port } = listener.addr;
  const waiting = await fillQueue(port);
  try {
    await failure(connectTo(port, { connectSeconds: 0.5 }), "connect_timed_out");
  } finally {
    for (const connection of waiting) connection.close();
  }
});

async function fillQueue(port: number): Promise<readonly Deno.TcpConn[]> {
  const connections: Deno.TcpConn[] = [];
  for (;;) {
    const signal = AbortSignal.timeout(200);
    try {
      connections.push(await Deno.connect({ hostname: "127.0.0.1", port, signal }));
    } catch {
      return connections;
    }
  }
}

Deno.test("connect() fails with banner_timed_out when a device accepts and keeps silent", async () => {
  await using server = await startSocketServer(() => {});
  const error = await failure(connectTo(server.port, { connectSeconds: 0.3 }), "banner_timed_out");
  assert.match(error.message, /no SSH banner in 0.3 s/);
  await server.allClosed();
});

for (
  const [name, bytes] of [
    ["a web server", "HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n\r\n"],
    ["an SSH 1 device", "SSH-1.5-1.2.27\r\n"],
    ["binary garbage", Uint8Array.from({ length: 9_000 }, (_, i) => (i * 7 + 128) % 10 + 128)],
    ["endless lines", "no banner here\n".repeat(5_000)],
  ] as const
) {
  Deno.test(`connect() says that ${name} is not SSH`, async () => {
    await using server = await startSocketServer((socket) => void socket.write(bytes));
    const error = await failure(connectTo(server.port, { connectSeconds: 0.5 }), "not_ssh");
    // deno-lint-ignore no-control-regex
    assert.ok(!/[\x00-\x1f\x7f-\uffff]/.test(error.message.replace("…", "")), error.message);
    await server.allClosed();
  });
}

Deno.test("connect() calls a device busy that says so and closes", async () => {
  await using server = await startSocketServer((socket) =>
    void socket.end("Sorry, too many users are logged in.\r\n")
  );
  await failure(connectTo(server.port), "device_busy");
});

Deno.test("connect() calls a connection lost that is closed before the banner", async () => {
  await using server = await startSocketServer((socket) => void socket.end());
  await failure(connectTo(server.port), "connection_lost");
});

Deno.test("connect() survives a reset before the banner", async () => {
  await using server = await startSocketServer((socket) => {
    // Right away, it would be a reset of the connect itself.
    setTimeout(() => socket.resetAndDestroy(), 20);
  });
  const error = await failure(connectTo(server.port), "connection_lost");
  assert.match(error.message, /Cannot connect to/);
});

Deno.test("connect() fails in the handshake when silence follows the banner", async () => {
  await using server = await startSocketServer((socket) => void socket.write(IDENT));
  const error = await failure(connectTo(server.port, { connectSeconds: 0.3 }), "handshake_failed");
  assert.match(error.message, /no key exchange in 0.3 s/);
  await server.allClosed();
});

for (
  const [name, bytes] of [
    ["garbage", "\x00\x00\x00\x0c\x04garbagegarbage"],
    ["a huge packet", "\x7f\xff\xff\xff\x04"],
    ["nothing but an end", ""],
  ] as const
) {
  Deno.test(`connect() fails in the handshake when ${name} follows the banner`, async () => {
    await using server = await startSocketServer((socket) => {
      socket.write(IDENT);
      if (bytes) socket.write(bytes, "latin1");
      else socket.end();
    });
    await failure(connectTo(server.port, { connectSeconds: 1 }), "handshake_failed");
    await server.allClosed();
  });
}

Deno.test("connect() reads a banner that comes byte by byte", async () => {
  let dripping = Promise.resolve();
  await using server = await startSocketServer((socket) => {
    dripping = drip(socket);
  });
  const error = await failure(connectTo(server.port, { connectSeconds: 1 }), "handshake_failed");
  assert.match(error.message, /it closed the connection/);
  await dripping;
});

/** A greeting, an identification in single bytes, then an end once the client has sent its own KEXINIT. */
async function drip(socket: Socket): Promise<void> {
  let heard = 0;
  socket.on("data", (chunk) => {
    heard += chunk.length;
    // Rookery's identification has 18 bytes; more means that it took ours for complete.
    if (heard > 100) socket.end();
  });
  for (const byte of `Welcome\r\n${IDENT}`) {
    socket.write(byte);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** For each stage: a server that stops there. */
const STAGES: Readonly<Record<string, () => Promise<TestServer>>> = {
  banner: () => startSocketServer(() => {}),
  handshake: () => startSocketServer((socket) => void socket.write(IDENT)),
  login: () =>
    startSshServer({
      authenticate: (context) => context.method === "none" && context.reject(["password"]),
    }),
};

for (const [stage, start] of Object.entries(STAGES)) {
  Deno.test(`connect() leaves no socket when it is aborted: ${stage}`, async () => {
    await using server = await start();
    const controller = new AbortController();
    const connecting = connectTo(server.port, { signal: controller.signal });
    const timer = setTimeout(() => controller.abort(), 150);
    await failure(connecting, "cancelled");
    clearTimeout(timer);
    assert.equal(server.accepted, 1);
    await server.allClosed();
  });
}

Deno.test("connect() does nothing when it is aborted before", async () => {
  await using server = await startSshServer();
  const reason = new DeviceError("lease_lost");
  const connecting = connectTo(server.port, { signal: AbortSignal.abort(reason) });
  assert.equal(await failure(connecting, "lease_lost"), reason);
  assert.equal(server.accepted, 0);
});

Deno.test("connect() tells a time limit of its caller from a cancellation", async () => {
  await using server = await startSocketServer(() => {});
  await failure(connectTo(server.port, { signal: AbortSignal.timeout(100) }), "total_timed_out");
});

Deno.test("connect() ends a connection for ever when its signal is aborted later", async () => {
  await using server = await startSshServer({
    serve: (connection) =>
      connection.on("session", (accept) => {
        const session = accept();
        session.on("pty", (ok) => ok?.());
        session.on("shell", (ok) => ok().on("error", () => {}));
      }),
  });
  const controller = new AbortController();
  await using connection = await connectTo(server.port, { signal: controller.signal });
  await using shell = await connection.openShell({ term: "vt100", columns: 80, rows: 24 }, ROOMY);
  const reading = shell.read(ROOMY);
  controller.abort(new DeviceError("lease_lost"));
  await failure(reading, "lease_lost");
  await server.allClosed();
});

Deno.test("connect() gives no secret away in any error", async () => {
  await using server = await startSshServer({ authenticate: (context) => context.reject([]) });
  const error = await failure(connectTo(server.port), "auth_rejected");
  assert.ok(!Deno.inspect(error, { depth: 10 }).includes(PASSWORD));
});

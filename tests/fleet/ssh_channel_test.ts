import type { Shell } from "../../agent/ssh/transport.ts";
import assert from "node:assert/strict";
import type { Socket } from "node:net";
import type ssh2 from "ssh2";
import { connectTo, failure, ROOMY, type SshServer, startSshServer } from "./ssh_server.ts";

const TERMINAL = { term: "vt100", columns: 511, rows: 1_000 } as const;

/** Serves every shell and every command with `play`; keeps what was asked. */
function channelServer(
  play: (channel: ssh2.ServerChannel, socket: Socket, connection: ssh2.Connection) => void,
  options: { readonly algorithms?: ssh2.Algorithms; readonly asked?: unknown[] } = {},
): Promise<SshServer> {
  const { asked = [] } = options;
  return startSshServer({
    ...(options.algorithms ? { algorithms: options.algorithms } : {}),
    serve: (connection, socket) =>
      connection.on("session", (accept) => {
        const session = accept();
        const run = (channel: ssh2.ServerChannel) => {
          channel.on("error", () => {});
          play(channel, socket, connection);
        };
        session.on("env", () => asked.push("env"));
        session.on("pty", (ok, _no, { term, cols, rows }) => {
          asked.push({ term, cols, rows });
          ok?.();
        });
        session.on("shell", (ok) => run(ok()));
        session.on("exec", (ok, _no, { command }) => {
          asked.push(command);
          run(ok());
        });
      }),
  });
}

/** Reads until a text has come, or all of it. */
async function readUntil(shell: Shell, end: string): Promise<string> {
  let text = "";
  while (!text.endsWith(end)) {
    const chunk = await shell.read(ROOMY);
    if (!chunk) break;
    text += new TextDecoder().decode(chunk);
  }
  return text;
}

Deno.test("Shell talks both ways in the terminal that was asked for, and sends no environment", async () => {
  const asked: unknown[] = [];
  await using server = await channelServer((channel) => {
    channel.write("core-1#");
    channel.on("data", (line: string) => channel.write(`${line}core-1#`));
  }, { asked });
  await using connection = await connectTo(server.port);
  await using shell = await connection.openShell(TERMINAL, ROOMY);
  assert.equal(await readUntil(shell, "#"), "core-1#");
  shell.write("show clock\n");
  assert.equal(await readUntil(shell, "#"), "show clock\ncore-1#");
  assert.deepEqual(asked, [{ term: "vt100", cols: 511, rows: 1_000 }]);
});

Deno.test("Shell loses no byte to an aborted read", async () => {
  let later: (() => void) | undefined;
  await using server = await channelServer((channel) => {
    later = () => void channel.write("here");
  });
  await using connection = await connectTo(server.port);
  await using shell = await connection.openShell(TERMINAL, ROOMY);
  await failure(shell.read({ signal: AbortSignal.timeout(50) }), "total_timed_out");
  later?.();
  assert.equal(await readUntil(shell, "here"), "here");
});

Deno.test("Shell tells a channel that the device closed from a broken connection", async () => {
  await using server = await channelServer((channel) => {
    channel.write("bye");
    channel.exit(0);
    channel.end();
  });
  await using connection = await connectTo(server.port);
  await using shell = await connection.openShell(TERMINAL, ROOMY);
  assert.equal(await readUntil(shell, "never"), "bye");
  assert.equal(await shell.read(ROOMY), undefined);
  shell.write("into the void\n");
  assert.equal(await shell.read(ROOMY), undefined);
});

for (const how of ["end", "reset"] as const) {
  Deno.test(`Shell gives what came and then fails when the connection breaks: ${how}`, async () => {
    await using server = await channelServer((channel, socket) => {
      channel.write("half a conf", () => how === "end" ? socket.end() : reset(socket));
    });
    await using connection = await connectTo(server.port);
    await using shell = await connection.openShell(TERMINAL, ROOMY);
    assert.equal(await readUntil(shell, "conf"), "half a conf");
    await failure(shell.read(ROOMY), "connection_lost");
    await failure(shell.read(ROOMY), "connection_lost");
    await failure(connection.openShell(TERMINAL, ROOMY), "connection_lost");
  });
}

/** A reset right behind the data would take them away. */
function reset(socket: Socket): void {
  setTimeout(() => socket.resetAndDestroy(), 50);
}

Deno.test("Shell holds back a device that sends faster than it is read", async () => {
  let sent = 0;
  await using server = await channelServer((channel) => {
    const more = () => {
      while (sent < 40_000_000) {
        sent += 64_000;
        if (!channel.write(new Uint8Array(64_000))) return void channel.once("drain", more);
      }
    };
    more();
  });
  await using connection = await connectTo(server.port);
  await using shell = await connection.openShell(TERMINAL, ROOMY);
  await shell.read(ROOMY);
  await new Promise((resolve) => setTimeout(resolve, 300));
  // Two windows of 2 MiB and the server's own buffer.
  assert.ok(sent < 10_000_000, `${sent} bytes were taken in`);
});

Deno.test("openShell() says that the device refused a session", async () => {
  await using server = await startSshServer({
    serve: (connection) => connection.on("session", (_accept, reject) => reject()),
  });
  await using connection = await connectTo(server.port);
  const error = await failure(connection.openShell(TERMINAL, ROOMY), "channel_refused");
  assert.match(error.message, /^Cannot open a shell on 127\.0\.0\.1:\d+: /);
  await failure(connection.exec("show version", ROOMY), "channel_refused");
});

Deno.test("openShell() and exec() do not wait for ever for an answer", async () => {
  // Without a listener for "session" ssh2 refuses; with this one it says nothing.
  await using server = await startSshServer({
    serve: (connection) => connection.on("session", () => {}),
  });
  await using connection = await connectTo(server.port, { connectSeconds: 0.5 });
  await failure(connection.openShell(TERMINAL, ROOMY), "idle_timed_out");
  const controller = new AbortController();
  const running = connection.exec("show version", { ...ROOMY, signal: controller.signal });
  controller.abort();
  await failure(running, "cancelled");
});

Deno.test("exec() gives output, errors and status, also when all come in one packet", async () => {
  const asked: unknown[] = [];
  await using server = await channelServer((channel) => {
    channel.stderr.write("warning\n");
    channel.write("set system host-name core-1\n");
    channel.exit(3);
    channel.end();
  }, { asked });
  await using connection = await connectTo(server.port);
  for (let round = 0; round < 3; round++) {
    const result = await connection.exec("show configuration", ROOMY);
    assert.equal(new TextDecoder().decode(result.stdout), "set system host-name core-1\n");
    assert.equal(result.stderr, "warning\n");
    assert.equal(result.exitStatus, 3);
  }
  assert.deepEqual(asked, Array(3).fill("show configuration"));
});

Deno.test("exec() gives no status when the device closed without one", async () => {
  await using server = await channelServer((channel) => {
    channel.write("half");
    channel.close();
  });
  await using connection = await connectTo(server.port);
  const { stdout, exitStatus } = await connection.exec("show configuration", ROOMY);
  assert.equal(new TextDecoder().decode(stdout), "half");
  assert.equal(exitStatus, undefined);
});

Deno.test("exec() gives no status when a signal ended the command", async () => {
  await using server = await channelServer((channel) => {
    channel.exit("KILL", false, "killed");
    channel.end();
  });
  await using connection = await connectTo(server.port);
  assert.equal((await connection.exec("show configuration", ROOMY)).exitStatus, undefined);
});

for (const how of ["end", "reset"] as const) {
  Deno.test(`exec() fails when the connection breaks in the middle: ${how}`, async () => {
    await using server = await channelServer((channel, socket) => {
      channel.write("half a conf", () => how === "end" ? socket.end() : reset(socket));
    });
    await using connection = await connectTo(server.port);
    await failure(connection.exec("show configuration", ROOMY), "connection_lost");
  });
}

Deno.test("exec() stops at its limit, however much the device has to say", async () => {
  let sent = 0;
  await using server = await channelServer((channel) => {
    const more = () => {
      while (sent < 60_000_000) {
        sent += 64_000;
        if (!channel.write(new Uint8Array(64_000))) return void channel.once("drain", more);
      }
    };
    more();
  });
  await using connection = await connectTo(server.port);
  await failure(
    connection.exec("show configuration", { ...ROOMY, maxBytes: 1_000_000 }),
    "configuration_too_large",
  );
  assert.ok(sent < 20_000_000, `${sent} bytes were sent`);
});

Deno.test("exec() takes output of exactly its limit", async () => {
  await using server = await channelServer((channel) => {
    channel.write(new Uint8Array(1_000));
    channel.exit(0);
    channel.end();
  });
  await using connection = await connectTo(server.port);
  const limits = { ...ROOMY, maxBytes: 1_000 };
  assert.equal((await connection.exec("show configuration", limits)).stdout.length, 1_000);
});

Deno.test("exec() fails when nothing comes any more, and not while something does", async () => {
  let ticks = 0;
  await using server = await channelServer((channel) => {
    const timer = setInterval(() => {
      channel.write(".");
      if (++ticks === 6) clearInterval(timer);
    }, 100);
    channel.on("close", () => clearInterval(timer));
  });
  await using connection = await connectTo(server.port);
  await failure(
    connection.exec("show configuration", { ...ROOMY, idleSeconds: 0.4 }),
    "idle_timed_out",
  );
  assert.equal(ticks, 6);
});

Deno.test("exec() ends when it is aborted, and the connection goes on", async () => {
  let round = 0;
  await using server = await channelServer((channel) => {
    if (round++ === 0) return;
    channel.exit(0);
    channel.end();
  });
  await using connection = await connectTo(server.port);
  const signal = AbortSignal.timeout(100);
  await failure(connection.exec("show configuration", { ...ROOMY, signal }), "total_timed_out");
  assert.equal((await connection.exec("show version", ROOMY)).exitStatus, 0);
});

Deno.test("exec() does without a close when status and end have come", async () => {
  await using server = await channelServer((channel) => {
    channel.write("all of it");
    channel.exit(0);
    channel.eof();
  });
  await using connection = await connectTo(server.port);
  const { exitStatus } = await connection.exec("show configuration", { ...ROOMY, idleSeconds: 2 });
  assert.equal(exitStatus, 0);
});

for (const cipher of ["aes128-ctr", "aes256-gcm@openssh.com"] as const) {
  Deno.test(`DeviceConnection lives through a new key exchange: ${cipher}`, async () => {
    await using server = await channelServer((channel, _socket, connection) => {
      channel.write("before ");
      connection.rekey(() => {
        channel.write("after");
        channel.exit(0);
        channel.end();
      });
    }, { algorithms: { compress: ["none"], kex: ["curve25519-sha256"], cipher: [cipher] } });
    await using connection = await connectTo(server.port);
    const { stdout } = await connection.exec("show configuration", ROOMY);
    assert.equal(new TextDecoder().decode(stdout), "before after");
  });
}

Deno.test("close() does not wait longer than two seconds for a device that has stopped", async () => {
  await using server = await channelServer((_channel, socket) => void socket.pause());
  await using connection = await connectTo(server.port);
  await using _shell = await connection.openShell(TERMINAL, ROOMY);
  const started = performance.now();
  await connection.close();
  assert.ok(performance.now() - started < 2_900);
});

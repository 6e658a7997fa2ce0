import net, { type AddressInfo } from "node:net";
import ssh2, { type ServerChannel } from "ssh2";
import { makeHostKey } from "./farm/key_pair.ts";

/** What a scripted device says after each text it was sent; the key "" is said when the shell opens. */
export type Script = Readonly<Record<string, string>>;

/** A device whose shell answers by a table, for manners that the farm's platforms do not have. */
export interface ScriptedShell extends AsyncDisposable {
  readonly host: "127.0.0.1";
  readonly port: number;
  /** Every text that was typed, in order. */
  readonly typed: readonly string[];
}

/** Starts a device that accepts every login and answers each typed line or key by `script`. */
export async function startScriptedShell(script: Script): Promise<ScriptedShell> {
  const typed: string[] = [];
  const server = new ssh2.Server({
    hostKeys: [makeHostKey().privateKey],
    algorithms: { compress: ["none"], kex: ["curve25519-sha256"] },
  }, (connection) => {
    connection.on("error", () => {});
    connection.on("authentication", (context) => context.accept());
    connection.on("session", (accept) => {
      const session = accept();
      session.on("pty", (acceptPty) => acceptPty?.());
      session.on("shell", (acceptShell) => play(acceptShell(), { script, typed }));
    });
  });
  const sockets = new Set<net.Socket>();
  const listener = net.createServer((socket) => {
    sockets.add(socket);
    socket.setNoDelay(true);
    socket.on("error", () => {});
    socket.once("close", () => sockets.delete(socket));
    server.injectSocket(socket);
  });
  const listening = Promise.withResolvers<void>();
  listener.listen(0, "127.0.0.1", listening.resolve);
  await listening.promise;
  const { port } = listener.address() as AddressInfo;
  async function stop(): Promise<void> {
    const closed = Promise.withResolvers<void>();
    listener.close(() => closed.resolve());
    for (const socket of sockets) socket.destroy();
    await closed.promise;
  }
  return { host: "127.0.0.1", port, typed, [Symbol.asyncDispose]: stop };
}

function play(
  channel: ServerChannel,
  { script, typed }: { readonly script: Script; readonly typed: string[] },
): void {
  channel.write(script[""] ?? "");
  channel.on("data", (data: Uint8Array) => {
    const text = new TextDecoder().decode(data);
    typed.push(text);
    const answer = script[text];
    if (answer !== undefined) channel.write(answer);
    else channel.end();
  });
}

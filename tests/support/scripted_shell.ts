import { setTimeout as delay } from "node:timers/promises";
import net, { type AddressInfo } from "node:net";
import ssh2, { type ServerChannel } from "ssh2";
import { makeHostKey } from "./farm/key_pair.ts";

/** A text, or pieces of one with milliseconds of silence between them, or with what is waited for. */
export type Answer = string | readonly (string | number | Promise<void>)[];

/**
 * What a scripted device says after each text it was sent, always the same or by how often it was sent before; the
 * key "" is said when the shell opens.
 */
export type Script = Readonly<Record<string, Answer | ((times: number) => Answer)>>;

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
  const times = new Map<string, number>();
  let said = say(channel, answerOf(script, "", 0) ?? "");
  channel.on("data", (data: Uint8Array) => {
    const text = new TextDecoder().decode(data);
    typed.push(text);
    const before = times.get(text) ?? 0;
    times.set(text, before + 1);
    const answer = answerOf(script, text, before);
    said = said.then(() => answer === undefined ? void channel.end() : say(channel, answer));
  });
}

function answerOf(script: Script, text: string, times: number): Answer | undefined {
  const answer = script[text];
  return typeof answer === "function" ? answer(times) : answer;
}

async function say(channel: ServerChannel, answer: Answer): Promise<void> {
  for (const piece of typeof answer === "string" ? [answer] : answer) {
    if (typeof piece === "number") await delay(piece);
    else if (typeof piece === "object") await piece;
    else if (channel.writable) channel.write(piece);
  }
}

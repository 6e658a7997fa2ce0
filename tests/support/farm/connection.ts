import ssh2, { type Connection, type ServerChannel, type Session as SshSession } from "ssh2";
import { endCiphers } from "./end_ciphers.ts";
import { runExec } from "./exec_channel.ts";
import type { HostKey } from "./key_pair.ts";
import { answerLogin, type LoginAttempt } from "./login.ts";
import { SessionEnded } from "./output.ts";
import { PLATFORM_MANNERS } from "./platform.ts";
import type { Session } from "./session.ts";
import { runShell } from "./shell_channel.ts";

const NONE = { compress: ["none"] } as const satisfies ssh2.Algorithms;

/** Without P-521 and group exchange: ssh2's server cannot speak them on Deno. */
const MODERN: ssh2.Algorithms = {
  ...NONE,
  kex: [
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "diffie-hellman-group14-sha256",
  ],
};

/** What a box of 2008 offers. */
const LEGACY: ssh2.Algorithms = {
  ...NONE,
  kex: ["diffie-hellman-group14-sha1"],
  serverHostKey: ["ssh-rsa"],
  cipher: ["aes128-cbc", "aes256-cbc"],
  hmac: ["hmac-md5"],
};

/** A TCP connection of a device, before SSH has begun. */
export interface Incoming extends Session {
  readonly hostKey: HostKey;
  readonly recordLogin: (attempt: LoginAttempt) => void;
  readonly recordChannel: (kind: "shell" | "exec") => void;
  /** Keeps a channel's work, so that `stop` can wait for it. */
  readonly track: (work: Promise<void>) => void;
}

/** Serves SSH, or what the fault puts in its place, on one accepted socket. */
export function serveConnection(incoming: Incoming): void {
  const { behaviour, socket, signal } = incoming;
  const { ident } = PLATFORM_MANNERS[incoming.recording.platform];
  if (behaviour.socket) {
    return incoming.track(behaviour.socket(socket, { ident, signal }));
  }
  const server = new ssh2.Server({
    hostKeys: [incoming.hostKey.privateKey],
    algorithms: behaviour.server === "legacy_algorithms" ? LEGACY : MODERN,
    ident,
  }, (connection) => serveSsh(connection, incoming));
  server.injectSocket(socket);
}

function serveSsh(connection: Connection, incoming: Incoming): void {
  // A peer that goes away is no error of the device.
  connection.on("error", () => {});
  connection.on("close", () => endCiphers(connection));
  connection.on("authentication", (context) => {
    context.on("abort", () => {});
    answerLogin(context, { ...incoming, record: incoming.recordLogin });
  });
  connection.on("session", (accept, reject) => {
    if (incoming.behaviour.channel === "refuse") return reject();
    serveSession(accept(), incoming);
  });
}

function serveSession(session: SshSession, incoming: Incoming): void {
  session.on("pty", (accept) => accept?.());
  session.on("window-change", (accept) => accept?.());
  const { transport } = PLATFORM_MANNERS[incoming.recording.platform];
  session.on("shell", (accept, reject) => {
    if (transport !== "shell") return reject?.();
    play(accept(), "shell", (channel) => runShell(channel, incoming));
  });
  session.on("exec", (accept, reject, { command }) => {
    if (transport !== "exec") return reject?.();
    play(accept(), "exec", (channel) => runExec(channel, command, incoming));
  });

  function play(
    channel: ServerChannel,
    kind: "shell" | "exec",
    run: (channel: ServerChannel) => Promise<void>,
  ): void {
    channel.on("error", () => {});
    channel.stderr.on("error", () => {});
    incoming.recordChannel(kind);
    incoming.track(run(channel));
  }
}

/** Swallows the end of a session, which is none of the device's errors. */
export async function untilEnded(work: Promise<void>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (!(error instanceof SessionEnded)) throw error;
  }
}

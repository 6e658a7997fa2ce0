import type { Socket } from "node:net";
import { randomBytes } from "node:crypto";
import type { Behaviour, Scene } from "./behaviour.ts";
import { type Output, SessionEnded, waitForEver } from "./output.ts";

/** Faults before and during the login: what they do to the connection. */

async function hangBeforeBanner(
  _socket: Socket,
  { signal }: { readonly signal: AbortSignal },
): Promise<void> {
  await waitForEver({ signal });
}

async function hangAfterBanner(
  socket: Socket,
  { ident, signal }: { readonly ident: string; readonly signal: AbortSignal },
): Promise<void> {
  socket.write(`SSH-2.0-${ident}\r\n`);
  await waitForEver({ signal });
}

/** Bytes that hold no line feed, so that no SSH client can take a part of them for a banner line. */
function makeGarbage(): Uint8Array {
  return randomBytes(4_096).map((byte) => byte === 10 ? 11 : byte);
}

function sendGarbage(socket: Socket): Promise<void> {
  socket.end(makeGarbage());
  return Promise.resolve();
}

function sendGarbageAfterLogin(
  _output: Output,
  { socket }: Scene & { readonly socket: Socket },
): Promise<void> {
  socket.end(makeGarbage());
  return Promise.reject(new SessionEnded());
}

/** As sshd does: a shell is asked for the old password, a command is told that there is no terminal. */
async function askForNewPassword(output: Output, { prompt }: Scene): Promise<void> {
  const warning = "You are required to change your password immediately (password expired).\n";
  if (prompt === "") {
    output.writeError(`${warning}Password change required but no TTY available.\n`);
    output.finish(1);
    throw new SessionEnded();
  }
  await output.write(`${warning}WARNING: Your password has expired.\n`);
  await output.write("You must change your password now and login again!\nCurrent password: ");
  await waitForEver(output);
}

async function sayLinesAreTaken(output: Output): Promise<void> {
  await output.write("\n% Connection limit exceeded. Try again later.\n");
  output.finish(1);
  throw new SessionEnded();
}

function breakEcho(line: string): string {
  if (!line.startsWith("show running-config")) return line;
  const half = Math.floor(line.length / 2);
  const log = "*Jan  1 00:00:00.123: %SYS-5-CONFIG_I: Configured from console by netops on vty1";
  return `${line.slice(0, half)}\n${log}\n${line.slice(half)}`;
}

export const CONNECTION_FAULTS = {
  hang_before_banner: { socket: hangBeforeBanner },
  hang_after_banner: { socket: hangAfterBanner },
  garbage: { socket: sendGarbage },
  garbage_after_login: { opening: sendGarbageAfterLogin },
  changed_host_key: { server: "other_host_key" },
  legacy_algorithms: { server: "legacy_algorithms" },
  reject_password: { login: "reject" },
  hang_in_login: { login: "hang" },
  password_expired: { opening: askForNewPassword },
  busy: { channel: "refuse" },
  busy_text: { opening: sayLinesAreTaken },
  wrong_enable: { enable: "refuse" },
  unknown_prompt: { prompt: "[ready] ?? " },
  syslog_noise: { echo: breakEcho },
} as const satisfies Record<string, Behaviour>;

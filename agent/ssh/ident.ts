import { Buffer } from "node:buffer";
import type { Socket } from "node:net";
import { within } from "./deadline.ts";
import type { StageOptions } from "./socket.ts";
import { DeviceError, plainText, toDeviceError } from "./ssh_failure.ts";

/** RFC 4253 lets a server write lines before its identification; nobody writes this much. */
const MAX_BYTES = 64 * 1024;
const MAX_LINE_BYTES = 8 * 1024;

/**
 * Waits until the device has sent its whole SSH identification line, then puts all bytes back for ssh2, which loses
 * bytes when that line comes in more than two pieces (1.17). It costs nothing: ssh2 too waits for the line, which is
 * returned as plain text.
 */
export async function awaitIdent(socket: Socket, options: StageOptions): Promise<string> {
  const heard = new Heard();
  const done = Promise.withResolvers<void>();
  const onData = (chunk: Buffer) => heard.add(chunk) && done.resolve();
  const onClose = () => done.reject(closedEarly(heard, options.where));
  const onError = (error: Error) => done.reject(toDeviceError(error, "banner", options));
  socket.on("data", onData).on("close", onClose).on("error", onError);
  try {
    await within(done.promise, { ...options, onTimeout: () => silent(heard, options) });
  } finally {
    socket.pause();
    socket.off("data", onData).off("close", onClose).off("error", onError);
  }
  const refusal = heard.refusal();
  if (refusal) throw notSsh(refusal, heard, options.where);
  socket.unshift(heard.bytes);
  return heard.ident;
}

class Heard {
  bytes = Buffer.alloc(0);

  /** Takes more bytes; true once it is clear what the other side speaks. */
  add(chunk: Buffer): boolean {
    this.bytes = Buffer.concat([this.bytes, chunk]);
    return this.#ident() !== undefined || this.refusal() !== undefined;
  }

  /** Why this is not a device to talk to, as far as it can be said. */
  refusal(): string | undefined {
    const ident = this.#ident();
    if (ident) return /^SSH-(2\.0|1\.99)-/.test(ident) ? undefined : "it speaks SSH 1 only";
    if (this.bytes.length > MAX_BYTES) return "it sends data without an SSH banner";
    const lineBytes = this.bytes.length - 1 - this.bytes.lastIndexOf(0x0a);
    return lineBytes > MAX_LINE_BYTES ? "it sends data without an SSH banner" : undefined;
  }

  /** The identification line, at most the 255 characters that RFC 4253 allows. */
  get ident(): string {
    return plainText(this.#ident() ?? "", 255);
  }

  #ident(): string | undefined {
    return /^SSH-\d[^\n]*\n/m.exec(this.bytes.toString("latin1"))?.[0];
  }
}

function silent(heard: Heard, options: StageOptions): DeviceError {
  if (heard.bytes.length > 0) return notSsh("it never sent an SSH banner", heard, options.where);
  return new DeviceError(
    "banner_timed_out",
    `Cannot connect to ${options.where}: no SSH banner in ${options.seconds} s`,
  );
}

function closedEarly(heard: Heard, where: string): DeviceError {
  const text = heard.bytes.toString("latin1");
  if (/too many|maximum|no free|busy|limit/i.test(text)) {
    return new DeviceError(
      "device_busy",
      `Cannot connect to ${where}: it said "${plainText(text, 200)}"`,
    );
  }
  if (text !== "") return notSsh("it closed the connection", heard, where);
  return new DeviceError(
    "connection_lost",
    `Cannot connect to ${where}: it closed the connection before any SSH banner ` +
      "(no free session, or an access list)",
  );
}

function notSsh(why: string, heard: Heard, where: string): DeviceError {
  const text = plainText(heard.bytes.toString("latin1"), 100);
  return new DeviceError("not_ssh", `Cannot connect to ${where}: ${why}; it sent "${text}"`);
}

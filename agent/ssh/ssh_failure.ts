import type { HostKeySeen } from "@rookery/shared/jobs/backup_config.ts";
import { type FailureCode, failureSentence } from "@rookery/shared/jobs/failure.ts";

/** Why work on a device failed: the one error class of `agent/ssh` and `agent/session`. */
export class DeviceError extends Error {
  override readonly name = "DeviceError";
  readonly code: FailureCode;
  /** The key that the device showed, when the failure is about it. */
  readonly hostKey?: HostKeySeen;

  /** `message` is for people and names no secret. */
  constructor(
    code: FailureCode,
    message: string = failureSentence(code),
    options: { readonly cause?: unknown; readonly hostKey?: HostKeySeen } = {},
  ) {
    super(message, "cause" in options ? { cause: options.cause } : {});
    this.code = code;
    if (options.hostKey) this.hostKey = options.hostKey;
  }
}

/** How far a connection had come when an error struck; it decides what an error without a code means. */
export type Stage = "resolve" | "connect" | "banner" | "handshake" | "login" | "session";

/** What each error code of the operating system means, whatever the stage. */
const SOCKET_CODES: Readonly<Record<string, FailureCode>> = {
  ENOTFOUND: "address_unresolved",
  EAI_AGAIN: "address_unresolved",
  EAI_NODATA: "address_unresolved",
  EAI_FAIL: "address_unresolved",
  ECONNREFUSED: "connection_refused",
  EHOSTUNREACH: "unreachable",
  ENETUNREACH: "unreachable",
  EHOSTDOWN: "unreachable",
  ENETDOWN: "unreachable",
  EADDRNOTAVAIL: "unreachable",
  ETIMEDOUT: "connect_timed_out",
};

/** Reasons of SSH_MSG_DISCONNECT (RFC 4253, section 11.1) that say more than "the connection broke". */
const DISCONNECT_CODES: Readonly<Record<number, FailureCode>> = {
  12: "device_busy",
  14: "auth_rejected",
  15: "auth_rejected",
};

const STAGE_CODES: Readonly<Record<Stage, FailureCode>> = {
  resolve: "address_unresolved",
  connect: "unreachable",
  banner: "not_ssh",
  handshake: "handshake_failed",
  login: "connection_lost",
  session: "connection_lost",
};

/** What ssh2 says about its own errors. */
interface Ssh2Error extends Error {
  readonly level?: unknown;
  readonly code?: unknown;
}

/** Turns anything thrown by ssh2, a socket, a resolver or an AbortSignal into a `DeviceError`. */
export function toDeviceError(
  error: unknown,
  stage: Stage,
  options: { readonly where?: string } = {},
): DeviceError {
  if (error instanceof DeviceError) return error;
  const { message, level, code }: Ssh2Error = error instanceof Error
    ? error
    : new Error(String(error));
  const words = plainText(message, 400);
  return new DeviceError(
    codeOf({ level, code, message: words }, stage),
    `Cannot ${doing(stage)} ${options.where ?? "the device"}: ${words}`,
    { cause: error },
  );
}

function codeOf(
  error: { readonly level: unknown; readonly code: unknown; readonly message: string },
  stage: Stage,
): FailureCode {
  if (typeof error.code === "string") {
    // A time-out of the operating system in the middle of a session is a broken connection, not a slow connect.
    if (error.code === "ETIMEDOUT" && stage !== "connect") return "connection_lost";
    const known = Object.hasOwn(SOCKET_CODES, error.code) ? SOCKET_CODES[error.code] : undefined;
    if (known) return known;
    if (error.code === "ECONNRESET" || error.code === "EPIPE") return lostCode(stage);
    if (error.code === "EPERM" || error.code === "EACCES" || error.code === "NotCapable") {
      return "refused_by_agent_policy";
    }
  }
  if (typeof error.code === "number") {
    const known = DISCONNECT_CODES[error.code];
    if (known) return known;
  }
  if (error.level === "client-authentication") {
    return /signing data with key/.test(error.message) ? "credential_unusable" : "auth_rejected";
  }
  return STAGE_CODES[stage];
}

/** A reset before any banner is what devices with no free session do; after it, the connection broke. */
function lostCode(stage: Stage): FailureCode {
  return stage === "connect" ? "connection_refused" : "connection_lost";
}

function doing(stage: Stage): string {
  switch (stage) {
    case "resolve":
      return "resolve";
    case "login":
      return "log in to";
    case "session":
      return "go on with";
    default:
      return "connect to";
  }
}

/** The error of an aborted signal: its reason when that is a `DeviceError`, else a time-out or `cancelled`. */
export function abortError(signal: AbortSignal): DeviceError {
  const reason: unknown = signal.reason;
  if (reason instanceof DeviceError) return reason;
  const timedOut = reason instanceof DOMException && reason.name === "TimeoutError";
  return new DeviceError(timedOut ? "total_timed_out" : "cancelled", undefined, { cause: reason });
}

/** Text from a device made safe for logs and pages: printable ASCII on one line, cut to `limit`. */
export function plainText(text: string, limit: number): string {
  const plain = text.slice(0, limit * 4).replace(/[^\x20-\x7e]+/g, " ").replace(/ {2,}/g, " ")
    .trim();
  return plain.length > limit ? `${plain.slice(0, limit)}…` : plain;
}

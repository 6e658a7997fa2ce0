import { Buffer } from "node:buffer";
import { isIPv6, type Socket } from "node:net";
import { compilePolicy } from "../local_policy.ts";
import type { AgentSettings } from "../settings.ts";
import { resolveAddresses } from "../ssh/address.ts";
import { awaitIdent } from "../ssh/ident.ts";
import { destroySocket, openSocket } from "../ssh/socket.ts";
import { type DeviceError, plainText, toDeviceError } from "../ssh/ssh_failure.ts";
import { failed, type Finding, ok, took } from "./finding.ts";

const SECONDS = 10;

/** Reads `host`, `host:port`, `address` or `[address]:port`; undefined for anything else. */
export function readTarget(text: string): { host: string; port: number } | undefined {
  const bracketed = /^\[([^\]]+)\](?::(\d{1,5}))?$/.exec(text);
  const named = /^([^:[\]\s]+)(?::(\d{1,5}))?$/.exec(text);
  const [, host, port = "22"] = bracketed ?? named ?? [];
  if (host !== undefined && Number(port) >= 1 && Number(port) <= 65_535) {
    return { host, port: Number(port) };
  }
  // An IPv6 address by itself.
  return isIPv6(text) ? { host: text, port: 22 } : undefined;
}

/** Goes as far as the SSH banner of one device, as a lease would: name, policy, TCP. Nobody logs in. */
export async function checkDevice(text: string, { policy }: AgentSettings): Promise<Finding> {
  const check = "device";
  const target = readTarget(text);
  if (!target) {
    return failed(
      check,
      `${text} is no device`,
      "Write --device host, host:22 or [2001:db8::1]:22.",
    );
  }
  const stage = { signal: new AbortController().signal, seconds: SECONDS, where: text };
  const allows = compilePolicy(policy);
  const startedAt = performance.now();
  let socket: Socket | undefined;
  try {
    const addresses = await resolveAddresses(target.host, {
      ...stage,
      allowAddress: (address) => allows({ address, port: target.port }),
    });
    const resolved = took(startedAt);
    const connectingAt = performance.now();
    socket = await openSocket({ addresses, port: target.port }, stage);
    const connected = took(connectingAt);
    const listeningAt = performance.now();
    await awaitIdent(socket, stage);
    const banner = plainText(bannerOf(socket), 100);
    const at = `${socket.remoteAddress ?? addresses[0]} port ${target.port}`;
    return ok(
      check,
      `${at}, allowed by the local policy: name ${resolved}, TCP ${connected}, ` +
        `banner ${took(listeningAt)}: ${banner}`,
    );
  } catch (error) {
    return explain(toDeviceError(error, "connect", stage));
  } finally {
    if (socket) await destroySocket(socket);
  }
}

function bannerOf(socket: Socket): string {
  const bytes: unknown = socket.read();
  return /^SSH-[^\r\n]*/m.exec(Buffer.isBuffer(bytes) ? bytes.toString("latin1") : "")?.[0] ?? "";
}

const REMEDIES: Partial<Record<DeviceError["code"], string>> = {
  address_unresolved: "Check the name, and the name servers of this machine.",
  unreachable: "Check the address, the route to it, and the firewalls on the way.",
  connect_timed_out: "Check the address, the route to it, and the firewalls on the way.",
  connection_refused:
    "Nothing listens at that port, or an access list refuses this machine: check both.",
  connection_lost: "The device closes at once: check its access lists and its free sessions.",
  banner_timed_out: "The device is overloaded, or a middlebox answers in its place.",
  not_ssh: "Check the port: something else than SSH 2 answers there.",
  refused_by_agent_policy: "Allow it in settings.json of this agent, or leave it forbidden.",
};

function explain({ code, message }: DeviceError): Finding {
  return failed(
    "device",
    `${code}: ${message}`,
    REMEDIES[code] ?? "Try by hand: ssh -v to the device.",
  );
}

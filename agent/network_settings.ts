import { isAbsolute, join } from "node:path";
import { BlockList, isIP } from "node:net";
import { X509Certificate } from "node:crypto";
import { z } from "zod";
import { sayObject } from "./say_settings.ts";

const NO_PROXY = 'must be a list such as ["rookery.internal", ".example.com", "10.0.0.0/8"]';
const NETWORK = z.union([z.cidrv4(), z.cidrv6()], NO_PROXY);
const CERTIFICATE = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g;

/** The HTTP proxy on the way to the control plane; asked by CONNECT, so that it sees no request. */
export const ProxySettings = z.strictObject({
  url: z.string("must be an address such as http://proxy.example.com:3128").superRefine(checkUrl),
  user: z.string("must be text").regex(/^[^:]+$/, "must not be empty, nor hold a colon").optional(),
  password: z.string("must be text").optional(),
  /** Names, `.suffixes`, addresses and networks that are reached without it. */
  noProxy: z.array(z.string(NO_PROXY).regex(/^[^/\s]+$/, NO_PROXY).or(NETWORK), NO_PROXY).default(
    [],
  ),
}, { error: (issue) => sayObject(issue, ["url", "user", "password", "noProxy"]) }).refine(
  ({ user, password }) => password === undefined || user !== undefined,
  { path: ["user"], message: "is missing: a password needs a user" },
);
export type ProxySettings = z.infer<typeof ProxySettings>;

/** The file named in the settings cannot be used; the message says what to do. */
export class CaFileError extends Error {
  override name = "CaFileError";
}

/** A user and a password in an address would stand in every error that names it. */
function checkUrl(text: string, { addIssue }: z.core.$RefinementCtx<string>): void {
  const url = URL.parse(text);
  const message = url === null || !["http:", "https:"].includes(url.protocol)
    ? "must be an address such as http://proxy.example.com:3128"
    : url.username !== "" || url.password !== ""
    ? "must hold no user and no password: write them as proxy.user and proxy.password"
    : undefined;
  if (message !== undefined) addIssue({ code: "custom", message, input: undefined });
}

/** Whether a host (as `URL.hostname` writes it) is reached through the proxy; this very machine never is. */
export function goesThrough({ noProxy }: ProxySettings, hostname: string): boolean {
  const host = hostname.replace(/^\[|\]$/g, "").toLowerCase();
  if (isLoopback(hostname)) return false;
  return !noProxy.some((entry) => matches(entry.toLowerCase(), host));
}

/** Whether a host, as `URL.hostname` writes it, is this machine by its very address. */
export function isLoopback(hostname: string): boolean {
  return /^(localhost|127(\.\d+){3}|\[::1\])$/.test(hostname);
}

function matches(entry: string, host: string): boolean {
  if (entry === "*") return true;
  const [address = "", prefix] = entry.replace(/^\[|\]$/g, "").split("/");
  const family = isIP(address);
  if (family === 0) {
    return host === entry.replace(/^\./, "") || host.endsWith(`.${entry.replace(/^\./, "")}`);
  }
  if (isIP(host) !== family) return false;
  const list = new BlockList();
  const kind = family === 6 ? "ipv6" : "ipv4";
  list.addSubnet(address, Number(prefix ?? (family === 6 ? 128 : 32)), kind);
  return list.check(host, kind);
}

/** Reads the certificates of a private CA; a path that is not absolute counts from the state folder. */
export async function readCaFile(stateFolder: string, caFile: string): Promise<string[]> {
  const path = isAbsolute(caFile) ? caFile : join(stateFolder, caFile);
  const text = await Deno.readTextFile(path).catch((cause: Error) => {
    throw new CaFileError(`Cannot read the caFile ${path}: ${remedyFor(cause, stateFolder)}`);
  });
  const certificates = text.match(CERTIFICATE) ?? [];
  if (certificates.length === 0 || !certificates.every(isCertificate)) {
    throw new CaFileError(
      `Cannot use the caFile ${path}: it must hold certificates in PEM, ` +
        "each between -----BEGIN CERTIFICATE----- and -----END CERTIFICATE-----",
    );
  }
  return certificates;
}

function isCertificate(pem: string): boolean {
  try {
    return new X509Certificate(pem).validTo !== "";
  } catch {
    return false;
  }
}

function remedyFor(cause: Error, stateFolder: string): string {
  if (cause instanceof Deno.errors.NotCapable) {
    return `this process reads its state folder only. Copy the file to ${stateFolder} and name it without a path`;
  }
  return cause.message;
}

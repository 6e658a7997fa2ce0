import { z } from "zod";
import { readTrustedProxies, type TrustedProxies } from "./http/address.ts";

/** What the environment says, checked. */
export interface Config {
  /** Unset: the embedded PostgreSQL in the data folder. */
  readonly databaseUrl: string | undefined;
  readonly dataDir: string;
  readonly keyFile: string;
  readonly hostname: string;
  readonly port: number;
  /** Where people and agents reach us; without a slash at its end. */
  readonly publicUrl: string;
  readonly trustedProxies: TrustedProxies;
  readonly tls: { readonly certFile: string; readonly keyFile: string } | undefined;
  /** Open connections: in all, and from one address that is no trusted proxy and not this machine. */
  readonly limits: { readonly total: number; readonly perNetwork: number };
}

const Environment = z.object({
  DATABASE_URL: z.string().optional(),
  ROOKERY_DATA: z.string().default("./data"),
  ROOKERY_KEYS: z.string().optional(),
  ROOKERY_LISTEN: z.string().default("127.0.0.1:8080"),
  ROOKERY_PUBLIC_URL: z.string().optional(),
  ROOKERY_TRUSTED_PROXIES: z.string().default(""),
  ROOKERY_TLS_CERT: z.string().optional(),
  ROOKERY_TLS_KEY: z.string().optional(),
  ROOKERY_MAX_CONNECTIONS: z.string().default("20000"),
  ROOKERY_MAX_CONNECTIONS_PER_ADDRESS: z.string().default("1000"),
});
type Environment = z.infer<typeof Environment>;

/** Reads the environment; throws an Error for people that names the variable. An empty variable counts as unset. */
export function readConfig(environment: Readonly<Record<string, string>>): Config {
  const set = Object.entries(environment).filter(([, value]) => value !== "");
  const env = Environment.parse(Object.fromEntries(set));
  const tls = readTls(env);
  const { hostname, port } = readListen(env.ROOKERY_LISTEN);
  const own = `${tls ? "https" : "http"}://${
    hostname.includes(":") ? `[${hostname}]` : hostname
  }:${port}`;
  return {
    databaseUrl: env.DATABASE_URL,
    dataDir: env.ROOKERY_DATA,
    keyFile: env.ROOKERY_KEYS ?? `${env.ROOKERY_DATA}/keys.json`,
    hostname,
    port,
    publicUrl: env.ROOKERY_PUBLIC_URL === undefined && isWildcard(hostname)
      ? refuseWildcard(env.ROOKERY_LISTEN)
      : readPublicUrl(env.ROOKERY_PUBLIC_URL ?? own),
    trustedProxies: readProxies(env.ROOKERY_TRUSTED_PROXIES),
    tls,
    limits: {
      total: readCount(env, "ROOKERY_MAX_CONNECTIONS"),
      perNetwork: readCount(env, "ROOKERY_MAX_CONNECTIONS_PER_ADDRESS"),
    },
  };
}

function readCount(
  env: Environment,
  name: "ROOKERY_MAX_CONNECTIONS" | "ROOKERY_MAX_CONNECTIONS_PER_ADDRESS",
): number {
  if (/^[1-9]\d{0,6}$/.test(env[name])) return Number(env[name]);
  throw new Error(`Cannot use ${name}="${env[name]}": write a whole number from 1 to 9999999`);
}

function readTls(env: Environment): Config["tls"] {
  const { ROOKERY_TLS_CERT: certFile, ROOKERY_TLS_KEY: keyFile } = env;
  if ((certFile === undefined) !== (keyFile === undefined)) {
    throw new Error("Cannot use TLS: set both ROOKERY_TLS_CERT and ROOKERY_TLS_KEY, or neither");
  }
  return certFile !== undefined && keyFile !== undefined ? { certFile, keyFile } : undefined;
}

function readListen(text: string): { readonly hostname: string; readonly port: number } {
  const match = /^(?:\[([0-9a-fA-F:]+)\]|([^:\s]+)):(\d{1,5})$/.exec(text);
  const hostname = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (port === 0) {
    throw new Error(
      `Cannot listen on ROOKERY_LISTEN="${text}": name a port from 1 to 65535, where people and agents find it`,
    );
  }
  if (hostname === undefined || port > 65_535) {
    throw new Error(`Cannot listen on ROOKERY_LISTEN="${text}": write it as 127.0.0.1:8080`);
  }
  return { hostname, port };
}

/** All addresses of this machine: a place to listen, but none to go to. */
function isWildcard(hostname: string): boolean {
  return /^[0:.]+$/.test(hostname);
}

function refuseWildcard(listen: string): never {
  throw new Error(
    `Cannot tell people and agents where to go: ROOKERY_LISTEN="${listen}" stands for every address. ` +
      "Set ROOKERY_PUBLIC_URL to the one they use, as https://rookery.example.com",
  );
}

function readPublicUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const usable = url && /^https?:$/.test(url.protocol) && url.pathname === "/" && !url.search &&
    !url.hash && !url.username && !url.password;
  if (!usable) {
    throw new Error(
      `Cannot use ROOKERY_PUBLIC_URL="${text}": write it as https://rookery.example.com, without a path`,
    );
  }
  return url.origin;
}

function readProxies(text: string): TrustedProxies {
  try {
    return readTrustedProxies(text);
  } catch (cause) {
    throw new Error(`Cannot use ROOKERY_TRUSTED_PROXIES="${text}": ${(cause as Error).message}`, {
      cause,
    });
  }
}

import { BlockList, isIPv4, isIPv6 } from "node:net";
import { z } from "zod";
import { JobKind, type JobKind as Kind } from "@rookery/shared/jobs/mod.ts";
import { readAddress } from "./embedded_addresses.ts";
import { sayObject } from "./say_settings.ts";

const Network = z.union([z.cidrv4(), z.cidrv6()], { error: ({ input }) => sayNetwork(input) });
const PORT = "must be a whole number from 1 to 65535";
const NAMES = ["networks", "ports", "kinds", "sessions", "fetchedDrivers"];
const KINDS = `must be a list of kinds of jobs: ${JobKind.options.join(", ")}`;
const SESSIONS = "must be a whole number from 1 to 256";

/**
 * What this agent may be asked to do, whatever a lease says: a file on the agent that no lease can widen.
 * `networks` absent means every address but the ones that are always refused.
 */
export const LocalPolicy = z.strictObject({
  networks: z.array(Network, 'must be a list of networks such as ["10.0.0.0/8"]').optional(),
  ports: z.array(z.int(PORT).min(1, PORT).max(65_535, PORT), "must be a list of ports such as [22]")
    .optional(),
  /** Kinds of jobs that may run here; absent means every kind. */
  kinds: z.array(z.enum(JobKind.options, KINDS), KINDS).optional(),
  /** Device sessions at the same time. */
  sessions: z.int(SESSIONS).min(1, SESSIONS).max(256, SESSIONS).optional(),
  /**
   * Whether drivers that the control plane signs are used beside those that this agent brought. Absent means no: which lines
   * go to devices is decided by who installed the agent, until its owner says otherwise. Even then only commands that read
   * are sent, see `whyNotReadOnly`.
   */
  fetchedDrivers: z.boolean("must be true or false").optional(),
}, { error: (issue) => sayObject(issue, NAMES) });
export type LocalPolicy = z.infer<typeof LocalPolicy>;

/**
 * Loopback, link-local, multicast and broadcast, the metadata services of clouds, translators of one's own network, and
 * "this host". A lease leads there only when the policy names a network inside one of these: "everything" is no name, and
 * would let a lease read a cloud's credentials.
 */
const GUARDED = [
  "0.0.0.0/8",
  "127.0.0.0/8",
  "169.254.0.0/16",
  // Metadata of Alibaba, of Azure (its wire server) and of Oracle's older machines.
  "100.100.100.200/32",
  "168.63.129.16/32",
  "192.0.0.192/32",
  "224.0.0.0/4",
  "240.0.0.0/4",
  "::/128",
  "::1/128",
  "64:ff9b:1::/48",
  "fe80::/10",
  "ff00::/8",
  // Metadata of Amazon, of Google and of Scaleway.
  "fd00:ec2::254/128",
  "fd20:ce::254/128",
  "fd00:42::42/128",
];

function sayNetwork(input: unknown): string {
  const quoted = JSON.stringify(input) ?? String(input);
  if (typeof input !== "string" || !(isIPv4(input) || isIPv6(input))) {
    return `is ${quoted}, which is no network: write it as 10.0.0.0/8 or 2001:db8::/32`;
  }
  const prefix = likelyPrefix(input);
  const whole = isIPv4(input) ? 32 : 128;
  const single = prefix === whole ? "" : `, or ${input}/${whole} for this one address`;
  return `is ${quoted}, an address without a prefix length: write it as ${input}/${prefix}${single}`;
}

/** Zeros at the end of an address are most likely those of its network. */
function likelyPrefix(address: string): number {
  if (isIPv4(address)) return 32 - 8 * (/(\.0)*$/.exec(address)?.[0].length ?? 0) / 2;
  return address.endsWith("::") ? 16 * address.slice(0, -2).split(":").length : 128;
}

/**
 * Answers whether a lease may lead to this address and port; the address is the resolved one. An IPv6 address that
 * carries an IPv4 one (NAT64, 6to4, Teredo …) must be allowed as both: the packets may end up at either.
 */
export function compilePolicy(
  policy: LocalPolicy,
): (target: { address: string; port: number }) => boolean {
  const guarded = blockList(GUARDED);
  const allowed = policy.networks && blockList(policy.networks);
  const named = blockList(policy.networks?.filter(isInsideGuarded) ?? []);
  const isFree = (address: string) => !contains(guarded, address) || contains(named, address);
  const isAllowed = (address: string) =>
    isFree(address) && (!allowed || contains(allowed, address));
  return ({ address, port }) => {
    const judged = readAddress(address);
    if (!judged || (policy.ports && !policy.ports.includes(port))) return false;
    return [judged.address, ...judged.embedded].every(isAllowed) && judged.possible.every(isFree);
  };
}

/** Why a job of this kind may not run here; undefined when it may. */
export function refuseKind({ kinds }: LocalPolicy, kind: Kind): string | undefined {
  if (!kinds || kinds.includes(kind)) return undefined;
  return `The agent's local policy forbids jobs of the kind ${kind}. ` +
    "Allow it under policy.kinds in settings.json of the agent; then restart the agent";
}

function contains(list: BlockList, address: string): boolean {
  return list.check(address, isIPv6(address) ? "ipv6" : "ipv4");
}

function isInsideGuarded(network: string): boolean {
  const [address = "", prefix = ""] = network.split("/");
  return GUARDED.some((guarded) =>
    Number(prefix) >= Number(guarded.split("/")[1]) &&
    isIPv6(address) === isIPv6(guarded.split("/")[0] ?? "") &&
    contains(blockList([guarded]), address)
  );
}

function blockList(networks: readonly string[]): BlockList {
  const list = new BlockList();
  for (const network of networks) {
    const [address = "", prefix = ""] = network.split("/");
    list.addSubnet(address, Number(prefix), isIPv6(address) ? "ipv6" : "ipv4");
  }
  return list;
}

import { BlockList, isIPv4, isIPv6 } from "node:net";
import { z } from "zod";
import { sayObject } from "./say_settings.ts";

const Network = z.union([z.cidrv4(), z.cidrv6()], { error: ({ input }) => sayNetwork(input) });
const PORT = "must be a whole number from 1 to 65535";
const NAMES = ["networks", "ports"];

/**
 * What this agent may be asked to do, whatever a lease says: a file on the agent that no lease can widen.
 * `networks` absent means every address but the ones that are always refused.
 */
export const LocalPolicy = z.strictObject({
  networks: z.array(Network, 'must be a list of networks such as ["10.0.0.0/8"]').optional(),
  ports: z.array(z.int(PORT).min(1, PORT).max(65_535, PORT), "must be a list of ports such as [22]")
    .optional(),
}, { error: (issue) => sayObject(issue, NAMES) });
export type LocalPolicy = z.infer<typeof LocalPolicy>;

/**
 * Loopback, link-local, the metadata services of clouds, and "this host". A lease leads there only when the policy names
 * a network inside one of these: "everything" is no name, and would let a lease read a cloud's credentials.
 */
const GUARDED = [
  "0.0.0.0/8",
  "127.0.0.0/8",
  "169.254.0.0/16",
  "100.100.100.200/32",
  "::/128",
  "::1/128",
  "fe80::/10",
  "fd00:ec2::254/128",
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

/** Answers whether a lease may lead to this address and port; the address is the resolved one. */
export function compilePolicy(
  policy: LocalPolicy,
): (target: { address: string; port: number }) => boolean {
  const guarded = blockList(GUARDED);
  const allowed = policy.networks && blockList(policy.networks);
  const named = blockList(policy.networks?.filter(isInsideGuarded) ?? []);
  return ({ address, port }) => {
    const plain = plainAddress(address);
    if (!plain || (policy.ports && !policy.ports.includes(port))) return false;
    if (contains(guarded, plain)) return contains(named, plain);
    return !allowed || contains(allowed, plain);
  };
}

/** IPv4 inside IPv6, however it is written, is what it leads to; undefined for what is no address. */
function plainAddress(address: string): string | undefined {
  const bare = address.replace(/%.*$/, "");
  if (isIPv4(bare)) return bare;
  if (!isIPv6(bare)) return undefined;
  const canonical = new URL(`http://[${bare}]/`).hostname.slice(1, -1);
  const mapped = /^(?:::ffff:|64:ff9b::)([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(canonical);
  if (!mapped) return canonical;
  const [high, low] = [parseInt(mapped[1] ?? "", 16), parseInt(mapped[2] ?? "", 16)];
  return [high >> 8, high & 255, low >> 8, low & 255].join(".");
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

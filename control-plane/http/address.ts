import { BlockList, isIPv4, isIPv6 } from "node:net";

/** The proxies whose forwarding headers are believed. */
export type TrustedProxies = BlockList;

/** Reads `ROOKERY_TRUSTED_PROXIES`: addresses and networks (`10.0.0.0/8`) divided by commas. */
export function readTrustedProxies(text: string): TrustedProxies {
  const list = new BlockList();
  for (const entry of text.split(",").map((part) => part.trim()).filter(Boolean)) {
    const [address = "", bits] = entry.split("/");
    const family = isIPv4(address) ? "ipv4" : isIPv6(address) ? "ipv6" : undefined;
    const longest = family === "ipv4" ? 32 : 128;
    const prefix = bits === undefined ? longest : Number(bits);
    if (!family || !Number.isInteger(prefix) || prefix < 0 || prefix > longest) {
      throw new Error(`"${entry}" is no address and no network`);
    }
    list.addSubnet(address, prefix, family);
  }
  return list;
}

/**
 * The caller's address. `X-Forwarded-For` is read from its end, as far as the addresses are those of trusted proxies:
 * what stands further left was written by the caller and proves nothing.
 */
export function clientAddress(
  remoteAddress: string,
  forwardedFor: string | undefined,
  trusted: TrustedProxies,
): string {
  const hops = (forwardedFor ?? "").split(",").map((hop) => hop.trim()).filter(Boolean);
  let address = withoutMapping(remoteAddress);
  while (isTrusted(address, trusted)) {
    const next = withoutMapping(hops.pop() ?? "");
    if (!isIPv4(next) && !isIPv6(next)) break;
    address = next;
  }
  return address;
}

/** The network that one household or server has: an IPv4 address by itself, of an IPv6 address its /64. */
export function networkOf(address: string): string {
  const plain = withoutMapping(address);
  if (!isIPv6(plain)) return plain;
  const [unscoped = ""] = plain.split("%");
  // The URL parser knows every way to write an address, and one way to print it.
  const [head = "", tail] = new URL(`http://[${unscoped}]/`).hostname.slice(1, -1).split("::");
  const groups = [head, tail ?? ""].map((part) => part.split(":").filter(Boolean));
  const zeros = new Array<string>(8 - groups.flat().length).fill("0");
  return `${[...groups[0] ?? [], ...zeros, ...groups[1] ?? []].slice(0, 4).join(":")}::/64`;
}

/** An IPv4 address that arrived over an IPv6 socket is still the same address. */
function withoutMapping(address: string): string {
  const inner = /^::ffff:(.+)$/i.exec(address)?.[1];
  return inner !== undefined && isIPv4(inner) ? inner : address;
}

/** Whether an address is that of a proxy whose headers are believed. */
export function isTrusted(remoteAddress: string, trusted: TrustedProxies): boolean {
  const address = withoutMapping(remoteAddress);
  if (isIPv4(address)) return trusted.check(address, "ipv4");
  return isIPv6(address) && trusted.check(address, "ipv6");
}

/** Whether somebody on this machine calls. */
export function isLoopback(remoteAddress: string): boolean {
  const address = withoutMapping(remoteAddress);
  return address === "::1" || isIPv4(address) && address.startsWith("127.");
}

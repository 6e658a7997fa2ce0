import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { within } from "./deadline.ts";
import { DeviceError, toDeviceError } from "./ssh_failure.ts";

/** A name with more addresses than this is tried at the first ones only. */
const MAX_ADDRESSES = 4;

/** What `resolveAddresses` needs besides the name. */
export interface ResolveOptions {
  readonly signal: AbortSignal;
  readonly seconds: number;
  /** The agent's local policy. It sees addresses, never names, so that a name cannot lead around it. */
  readonly allowAddress: (address: string) => boolean;
  /** What the name was resolved to already; it is not looked up again. */
  readonly addresses?: readonly string[] | undefined;
}

/**
 * The addresses of a host that the local policy allows, in the resolver's order. The socket is opened to these very
 * addresses, so that a name which resolves differently a moment later changes nothing.
 */
export async function resolveAddresses(
  host: string,
  options: ResolveOptions,
): Promise<readonly string[]> {
  const found = options.addresses ?? (isIP(host) ? [host] : await lookUp(host, options));
  const addresses = [...new Set(found.map(canonicalAddress))];
  const allowed = addresses.filter((address) => options.allowAddress(withoutZone(address)));
  if (addresses.length > 0 && allowed.length === 0) {
    throw new DeviceError(
      "refused_by_agent_policy",
      `Cannot connect to ${host}: the agent's local policy forbids ${addresses.join(", ")}. ` +
        "Allow the address under policy.networks in settings.json of the agent, and the port under policy.ports " +
        "if that is set; then restart the agent",
    );
  }
  return allowed.slice(0, MAX_ADDRESSES);
}

async function lookUp(host: string, options: ResolveOptions): Promise<readonly string[]> {
  try {
    const records = await within(lookup(host, { all: true }), {
      signal: options.signal,
      seconds: options.seconds,
      onTimeout: () =>
        new DeviceError(
          "address_unresolved",
          `Cannot resolve ${host}: no answer in ${options.seconds} s`,
        ),
    });
    return records.map((record) => record.address);
  } catch (error) {
    throw toDeviceError(error, "resolve", { where: host });
  }
}

/** One spelling per address: an IPv4 address in IPv6 clothes (`::ffff:127.0.0.1`) is an IPv4 address. */
export function canonicalAddress(address: string): string {
  if (isIP(address) !== 6) return address;
  const [plain = "", zone] = address.split("%");
  const canonical = new URL(`http://[${plain}]/`).hostname.slice(1, -1);
  const mapped = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(canonical);
  if (!mapped) return zone === undefined ? canonical : `${canonical}%${zone}`;
  return [mapped[1], mapped[2]].map((part) => parseInt(part ?? "0", 16))
    .flatMap((word) => [word >> 8, word & 0xff]).join(".");
}

function withoutZone(address: string): string {
  return address.split("%")[0] ?? address;
}

import { isLoopback, isTrusted, networkOf, type TrustedProxies } from "./address.ts";

/** How many connections may be open at the same time. */
export interface ConnectionLimits {
  readonly total: number;
  /** From one network: an IPv4 address, or an IPv6 /64. */
  readonly perNetwork: number;
  /** Addresses that stand for many callers: proxies, and this machine. Only `total` counts for them. */
  readonly isShared: (address: string) => boolean;
}

/** Counts open connections, in all and by network. */
export class ConnectionCount {
  readonly #limits: ConnectionLimits;
  readonly #byNetwork = new Map<string, number>();
  #total = 0;

  constructor(limits: ConnectionLimits) {
    this.#limits = limits;
  }

  get total(): number {
    return this.#total;
  }

  /** Counts a connection in; undefined when it is one too many. Call what is returned when the connection ends. */
  admit(address: string): (() => void) | undefined {
    const network = networkOf(address);
    const open = this.#byNetwork.get(network) ?? 0;
    if (this.#total >= this.#limits.total) return undefined;
    if (open >= this.#limits.perNetwork && !this.#limits.isShared(address)) return undefined;
    this.#total++;
    this.#byNetwork.set(network, open + 1);
    return () => this.#leave(network);
  }

  #leave(network: string): void {
    this.#total--;
    const left = (this.#byNetwork.get(network) ?? 0) - 1;
    if (left > 0) this.#byNetwork.set(network, left);
    else this.#byNetwork.delete(network);
  }
}

/** For `isShared`: the proxies that are trusted, and this machine, where a proxy nobody named may run. */
export function sharedBy(trusted: TrustedProxies): (address: string) => boolean {
  return (address) => isLoopback(address) || isTrusted(address, trusted);
}

/** Descriptors that are for files, the database and what runs beside. */
const SPARE_DESCRIPTORS = 250;

/** How many connections this process has descriptors for; without limit where the system does not say. */
export async function affordableConnections(): Promise<number> {
  const limits = await Deno.readTextFile("/proc/self/limits").catch(() => "");
  const soft = /^Max open files\s+(\d+)/m.exec(limits)?.[1];
  return soft === undefined ? Infinity : Math.max(50, Number(soft) - SPARE_DESCRIPTORS);
}

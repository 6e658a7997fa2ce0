import { isIPv4 } from "node:net";
import type { LocalPolicy } from "../local_policy.ts";
import { openWorker } from "./open_worker.ts";
import { sessionWorkerUrl } from "./worker_source.ts";

/**
 * Starts a session thread that may use the network and nothing else. Where the policy names IPv4 networks only, Deno itself
 * holds the thread inside them, even one that was taken over; Deno has no way of writing an IPv6 network.
 */
export function startWorker(policy: LocalPolicy, url = sessionWorkerUrl()): Worker {
  const networks = policy.networks ?? [];
  const isHeld = networks.length > 0 &&
    networks.every((network) => isIPv4(network.split("/")[0] ?? ""));
  return openWorker(url, { name: "sessions", net: isHeld ? networks : "inherit" });
}

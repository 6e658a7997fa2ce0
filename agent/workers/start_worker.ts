import { isIPv4 } from "node:net";
import type { LocalPolicy } from "../local_policy.ts";
import { sessionWorkerUrl } from "./worker_source.ts";

const NOTHING_ELSE = {
  read: false,
  write: false,
  env: false,
  run: false,
  ffi: false,
  sys: false,
  import: false,
} as const;

/**
 * Starts a session thread that may use the network and nothing else. Where the policy names IPv4 networks only, Deno itself
 * holds the thread inside them, even one that was taken over; Deno has no way of writing an IPv6 network.
 */
export function startWorker(policy: LocalPolicy, url = sessionWorkerUrl()): Worker {
  const networks = policy.networks ?? [];
  if (networks.length === 0 || !networks.every((network) => isIPv4(network.split("/")[0] ?? ""))) {
    return openWorker(url, "inherit");
  }
  try {
    return openWorker(url, [...networks]);
  } catch (error) {
    // Started with a list of its own (--allow-net=…), the agent can hand on only that very list.
    if (error instanceof Deno.errors.NotCapable) return openWorker(url, "inherit");
    throw error;
  }
}

function openWorker(url: string, net: "inherit" | string[]): Worker {
  return new Worker(url, {
    type: "module",
    name: "sessions",
    deno: { permissions: { ...NOTHING_ELSE, net } },
  });
}

import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { openRoute, type Route } from "../http.ts";
import { errorText } from "../log.ts";
import { ProxyRelay } from "../proxy_relay.ts";
import { ReachError, type ReachReason } from "../reach_error.ts";
import type { AgentSettings } from "../settings.ts";
import { failed, type Finding, ok, skipped, took, warning } from "./finding.ts";
import { peekCertificate } from "./peek_certificate.ts";

const REQUEST_MS = 10_000;
const EXPIRY_WARNING_DAYS = 14;

/** The way to the control plane, as far as it goes. */
export interface Way {
  readonly base: string;
  readonly route: Route;
  readonly settings: AgentSettings;
  /** Whether a request got through, or what stopped it. */
  readonly outcome: "through" | "timeout" | ReachError;
}

/** Sends one request, as the agent would, and keeps what became of it. */
export async function tryWay(
  base: string,
  options: { readonly stateFolder: string; readonly settings: AgentSettings },
): Promise<Way> {
  const route = await openRoute(base, options);
  const { settings } = options;
  try {
    const signal = AbortSignal.timeout(REQUEST_MS);
    const response = await route.send(new Request(`${new URL(base).origin}/healthz`, { signal }));
    await response.body?.cancel();
    return { base, route, settings, outcome: "through" };
  } catch (error) {
    return { base, route, settings, outcome: error instanceof ReachError ? error : "timeout" };
  }
}

/** The names on the way: the control plane's, or the proxy's, which looks up the rest itself. */
export async function checkDns({ base, route: { proxy } }: Way): Promise<Finding> {
  const check = "dns";
  const host = new URL(proxy?.url ?? base).hostname.replace(/^\[|\]$/g, "");
  if (isIP(host)) return ok(check, `${host} is an address: there is nothing to look up`);
  const startedAt = performance.now();
  try {
    const found = await within(lookup(host, { all: true }), REQUEST_MS);
    const addresses = found.map(({ address }) => address).join(", ");
    return ok(check, `${host} is ${addresses}, in ${took(startedAt)}`);
  } catch (error) {
    const remedy = "Check the name, and the name servers of this machine (/etc/resolv.conf).";
    return failed(check, `${host}: ${errorText(error)}`, remedy);
  }
}

const PROXY_REASONS: readonly ReachReason[] = [
  "proxy_authentication",
  "proxy_refused",
  "proxy_unreachable",
  "proxy_unresolved",
];
const TLS_REASONS: readonly ReachReason[] = [
  "unknown_issuer",
  "wrong_name",
  "expired",
  "not_yet_valid",
  "bad_certificate",
  "not_tls",
];

export function checkProxy({ route: { proxy }, settings, outcome }: Way): Finding {
  const check = "proxy";
  if (!proxy) {
    return ok(check, settings.proxy ? "none for this address (proxy.noProxy)" : "none is set");
  }
  if (outcome === "timeout") {
    return failed(check, `${proxy.url} did not answer in time`, "Check proxy.url, and the proxy.");
  }
  return outcome !== "through" && PROXY_REASONS.includes(outcome.reason)
    ? failed(check, `${proxy.url}: ${outcome.seen}`, outcome.remedy)
    : ok(check, `${proxy.url} lets the agent through`);
}

/** The certificate: whether it can be trusted for this name, and for how long. */
export async function checkTls(way: Way): Promise<Finding> {
  const check = "tls";
  const { outcome, base } = way;
  if (base.startsWith("http:")) return ok(check, "none: plain HTTP to this very machine");
  if (outcome === "timeout") return skipped(check, "the control plane was not reached");
  if (outcome !== "through" && !TLS_REASONS.includes(outcome.reason)) {
    return skipped(check, "the control plane was not reached");
  }
  const seen = await certificateOf(way);
  const shown = seen
    ? `for ${seen.names || "no name"}, by ${seen.issuer}, until ${seen.validTo.toISOString()}`
    : "no certificate was shown";
  if (outcome !== "through") return failed(check, `${outcome.seen} (${shown})`, outcome.remedy);
  if (!seen) return ok(check, "trusted");
  const days = Math.floor((seen.validTo.getTime() - Date.now()) / 86_400_000);
  return days < EXPIRY_WARNING_DAYS
    ? warning(check, `trusted, ${days} days left: ${shown}`, "Renew the certificate.")
    : ok(check, `trusted, ${days} days left: ${shown}`);
}

async function certificateOf({ base, route: { proxy, caCerts } }: Way) {
  using relay = proxy ? new ProxyRelay(proxy, { base, caCerts }) : undefined;
  const signal = AbortSignal.timeout(REQUEST_MS);
  return await peekCertificate({ base, through: relay?.url, signal });
}

/** The promise's value, or an error when it takes longer. */
async function within<Value>(promise: Promise<Value>, ms: number): Promise<Value> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`no answer in ${ms / 1_000} s`)), ms);
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

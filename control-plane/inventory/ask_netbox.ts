/** NetBox's REST API, as its documentation has it: pages of { count, next, results }, and a token in each request. */
import { z } from "zod";
import { MOST_ROWS } from "@rookery/shared/api/imports.ts";
import { ProblemError, refusedField } from "@rookery/shared/problem.ts";
import { readBody } from "../http/read_body.ts";

const PAGE = 500;
const PAGE_BYTES = 16 * 1024 * 1024;
const TOTAL_MS = 120_000;
const PACE = { minBytesPerSecond: 1_024, graceSeconds: 30, totalSeconds: 60 };

const Named = z.object({ name: z.string(), slug: z.string() });

/** A device as NetBox has it, in the fields that matter here. */
const NetboxDevice = z.object({
  name: z.string().nullable(),
  site: Named,
  platform: Named.nullable(),
  primary_ip: z.object({ address: z.string() }).nullable(),
  tags: z.array(Named).default([]),
});
export type NetboxDevice = z.infer<typeof NetboxDevice>;

const NetboxPage = z.object({ next: z.string().nullable(), results: z.array(NetboxDevice) });

export interface NetboxOrder {
  /** Where NetBox's pages are; `/api/` follows. */
  readonly url: string;
  readonly token: string;
  /** Of its own filters, as in a query: `role=router&status=active`. */
  readonly filter: string;
  readonly signal: AbortSignal;
}

/** Reads all devices that the filter takes, page by page; active ones where it says nothing of their status. */
export async function askNetbox(order: NetboxOrder): Promise<readonly NetboxDevice[]> {
  const signal = AbortSignal.any([order.signal, AbortSignal.timeout(TOTAL_MS)]);
  const devices: NetboxDevice[] = [];
  for (let query: string | undefined = firstQuery(order.filter); query !== undefined;) {
    const { next, results } = await askPage({ ...order, signal }, query);
    devices.push(...results);
    if (devices.length > MOST_ROWS) {
      throw refused("filter", `takes more than ${MOST_ROWS} devices`);
    }
    // Only what follows the question mark: behind a proxy NetBox may name itself by an address that is not ours to ask.
    query = next === null || results.length === 0 ? undefined : new URL(next, order.url).search;
  }
  return devices;
}

function firstQuery(filter: string): string {
  const query = new URLSearchParams(filter);
  if (![...query.keys()].some((name) => name.startsWith("status"))) query.set("status", "active");
  query.set("limit", String(PAGE));
  query.set("offset", "0");
  // Large, and not needed.
  query.set("exclude", "config_context");
  return `?${query}`;
}

async function askPage(order: NetboxOrder, query: string) {
  const response = await send(order, query);
  if (response.status !== 200) {
    await response.body?.cancel();
    const field = response.status === 401 || response.status === 403 ? "token" : "url";
    throw refused(field, `NetBox answers with the status ${response.status}`);
  }
  const { signal } = order;
  const bytes = await readBody(response.body, { maxBytes: PAGE_BYTES, pace: PACE, signal });
  const page = NetboxPage.safeParse(parse(bytes));
  if (!page.success) throw refused("url", "answers with something that is no list of NetBox");
  return page.data;
}

async function send({ url, token, signal }: NetboxOrder, query: string): Promise<Response> {
  const base = url.endsWith("/") ? url : `${url}/`;
  // Tokens of the second kind (NetBox 4.5) say so.
  const scheme = token.startsWith("nbt_") ? "Bearer" : "Token";
  const headers = { authorization: `${scheme} ${token}`, accept: "application/json" };
  try {
    // Nobody is sent elsewhere with the token.
    const options = { headers, signal, redirect: "error" } as const;
    return await fetch(new URL(`api/dcim/devices/${query}`, base), options);
  } catch (cause) {
    throw refused("url", "cannot be reached from the control plane", cause);
  }
}

function parse(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return undefined;
  }
}

function refused(field: string, detail: string, cause?: unknown): ProblemError {
  return refusedField(`#/${field}`, detail, cause);
}

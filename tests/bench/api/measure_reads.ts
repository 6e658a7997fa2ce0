/** What people look at: lists of devices and of versions, differences, searches. */
import { writeCursor } from "../../../control-plane/http/page.ts";
import type { Row } from "../agents/table.ts";
import { type Asker, type Times, timesOf } from "./ask.ts";
import { nameOf } from "./configurations.ts";
import type { Populated } from "./populate.ts";

/** How often each thing is asked for. */
export interface Turns {
  readonly pages: number;
  readonly diffs: number;
  readonly searches: number;
}

/** The first page of each, one from the middle of all devices, and the last. */
export async function measureLists(
  asker: Asker,
  { siteIds, deviceIds }: Populated,
  turns: Turns,
): Promise<Row[]> {
  const filters = {
    "no filter": "",
    "a site": `siteId=${siteIds[1]}`,
    "a platform": "platform=juniper_junos",
    "tags": `tags=${encodeURIComponent("core and not lab")}`,
    "a status": "status=failed",
    "age of backup": "staleHours=26",
    "unsaved": "unsaved=true",
    "text in a name": "text=sw-123",
    "text that is nowhere": "text=nowhere-at-all",
    "an owner": "owner=team-7",
  };
  const rows: Row[] = [];
  for (const [filter, query] of Object.entries(filters)) {
    const paths = ["", after(deviceIds, 0.5), after(deviceIds, 0.999)]
      .map((cursor) => `/api/v1/devices?limit=100&${query}${cursor}`);
    const times = await timesOf(asker, paths, turns.pages);
    rows.push(...both(`device list, ${filter}`, times, 50));
  }
  return rows;
}

function after(deviceIds: readonly string[], share: number): string {
  return `&cursor=${writeCursor(deviceIds[Math.floor(deviceIds.length * share)])}`;
}

export async function measureHistory(
  asker: Asker,
  { deviceIds, comparedId }: Populated,
  turns: Turns,
): Promise<Row[]> {
  const some = deviceIds.filter((_, n) => n % Math.ceil(deviceIds.length / 50) === 0);
  const versions = some.map((deviceId) => `/api/v1/devices/${deviceId}/revisions`);
  const diff = [`/api/v1/revisions/${comparedId}/diff`];
  return [
    ...both("version list", await timesOf(asker, versions, Math.ceil(turns.pages / 10)), 50),
    ...both("diff of two 5,000-line revisions", await timesOf(asker, diff, turns.diffs), 50),
  ];
}

const TEXTS = {
  "a line that all have": "switchport mode access",
  "an address": "10.12.34.7 ",
  "a name": `hostname ${nameOf(7)}`,
  "two letters": "zq",
  "nowhere": "nowhere at all",
};
const PATTERNS = {
  "an address": String.raw`ip address 10\.1[0-9]\.34\.[0-9]+ `,
  "a note, by its ends": "^ description (door|lab) 99[0-9][0-9]-",
  "digits": "[0-9]{4}-[0-9]{3}$",
  "nowhere": "(a|b)+c[xyz]{3}",
};

export async function measureSearch(asker: Asker, turns: Turns): Promise<Row[]> {
  const rows: Row[] = [];
  const kinds = [["text", TEXTS, 1_000], ["pattern", PATTERNS, 3_000]] as const;
  for (const [kind, asked, atMost] of kinds) {
    for (const [what, sought] of Object.entries(asked)) {
      const path = `/api/v1/search?${new URLSearchParams({ [kind]: sought })}`;
      const times = await timesOf(asker, [path], turns.searches);
      rows.push(...both(`search by ${kind}, ${what}`, times, atMost));
    }
  }
  return rows;
}

function both(what: string, { p50, p99 }: Times, atMost: number): Row[] {
  return [
    { what: `${what}: median`, unit: "ms", measured: p50 },
    { what: `${what}: p99`, unit: "ms", measured: p99, aim: { atMost } },
  ];
}

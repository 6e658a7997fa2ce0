/** Results that wait in an agent's spool, put there as the agent puts them. */
import { join } from "node:path";
import { sha256 } from "@rookery/shared/canonical_json.ts";
import type { LeaseClaims } from "@rookery/shared/jobs/lease.ts";
import type { Delivery } from "../../agent/deliver.ts";
import type { Log } from "../../agent/log.ts";
import { Spool, type SpoolOptions } from "../../agent/spool.ts";
import { diskFiles, type SpoolFiles } from "../../agent/spool_files.ts";
import { type EnrolledAgent, type ManualBoot, signResult } from "./agent_bench.ts";
import { outcomeOf } from "./backup_report.ts";

/** A log that is kept, by event. */
export function keptLog() {
  const lines: { readonly event: string; readonly [field: string]: unknown }[] = [];
  const log: Log = (_level, event, fields) => lines.push({ event, ...fields });
  return { log, lines, events: () => lines.map(({ event }) => event) };
}

/** The spool of a state folder, opened as the agent opens it. */
export function openSpool(
  { state, identity }: EnrolledAgent,
  options: Partial<SpoolOptions> = {},
): Promise<Spool> {
  return Spool.open({
    folder: spoolFolder({ state }),
    limits: { maxMegabytes: 16, maxEntries: 100 },
    files: diskFiles,
    log: () => {},
    sealingKey: () => identity.sealingKey,
    ...options,
  });
}

export function spoolFolder({ state }: Pick<EnrolledAgent, "state">): string {
  return join(state.path, "spool");
}

/** The names of the entries on disk, oldest first. */
export async function spooledEntries(enrolled: Pick<EnrolledAgent, "state">): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of Deno.readDir(spoolFolder(enrolled))) names.push(name);
  return names.filter((name) => name.endsWith(".entry")).sort();
}

/** What an agent has to deliver that read this text under a lease. */
export async function deliveryOf(
  boot: Pick<ManualBoot, "signKey">,
  lease: LeaseClaims,
  text: string,
  claims: Record<string, unknown> = {},
): Promise<Delivery> {
  const bytes = new TextEncoder().encode(text);
  const outcome = { ...await outcomeOf(bytes), facts: {} };
  const result = await signResult(boot, lease, { status: "completed", outcome }, claims);
  return { leaseId: lease.jti, result, uploads: [{ sha256: await sha256(bytes), bytes }] };
}

/** The files of the disk, with some of their operations replaced. */
export function filesWith(changes: Partial<SpoolFiles>): SpoolFiles {
  return { ...diskFiles, ...changes };
}

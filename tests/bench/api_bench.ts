/**
 * `deno task bench:api`: what people wait for, over HTTP, with 100,000 devices, 1,000,000 revisions and 10,000 current
 * configurations of 25 kB; and what a revision costs to keep. Prints one table. `--quick` is a smoke run with few of
 * everything, whose figures say nothing. Linux only, with git: it reads /proc.
 */
import { setTimeout as delay } from "node:timers/promises";
import { type Kysely, sql } from "kysely";
import { startTexts } from "../../control-plane/backups/texts.ts";
import { connectDatabase } from "../../control-plane/database/connect.ts";
import type { Database } from "../../control-plane/database/schema.ts";
import { loadKeyRing } from "../../control-plane/keys/key_ring.ts";
import { openStage, type Stage } from "./agents/stage.ts";
import { type Row, tableOf } from "./agents/table.ts";
import { askerOf } from "./api/ask.ts";
import { measureImport } from "./api/measure_import.ts";
import { measureHistory, measureLists, measureSearch } from "./api/measure_reads.ts";
import { measureStorage } from "./api/measure_storage.ts";
import { populate } from "./api/populate.ts";

const FULL = {
  population: {
    sites: 200,
    devices: 100_000,
    revisionsPerDevice: 10,
    texts: 10_000,
    diffLines: 5_000,
  },
  turns: { pages: 100, diffs: 100, searches: 20 },
  imported: 10_000,
  history: { devices: 3, revisions: 200 },
};
type Plan = typeof FULL;
const QUICK: Plan = {
  population: { sites: 4, devices: 400, revisionsPerDevice: 2, texts: 40, diffLines: 5_000 },
  turns: { pages: 2, diffs: 2, searches: 2 },
  imported: 40,
  history: { devices: 1, revisions: 10 },
};

/** A hundred thousand rows at once take longer than any statement of a request may. */
const PATIENCE_MS = 600_000;

function say(text: string): void {
  Deno.stderr.writeSync(new TextEncoder().encode(`${text}\n`));
}

async function main(args: readonly string[]): Promise<void> {
  const plan = args.includes("--quick") ? QUICK : FULL;
  const startedAt = performance.now();
  const step = (text: string) => {
    const seconds = (performance.now() - startedAt) / 1_000;
    say(`${seconds.toFixed(0).padStart(4)} s  ${text}; load ${Deno.loadavg()[0]?.toFixed(1)}`);
  };
  const load = Deno.loadavg()[0]?.toFixed(1);
  const rows: Row[] = [];
  {
    await using stage = await openStage({ replicas: 1 });
    rows.push(...await measure(stage, plan, step));
    step("clearing up");
  }
  const circumstances = `${navigator.hardwareConcurrency} cores, load ${load} before the start, ` +
    `Deno ${Deno.version.deno}, PostgreSQL with fsync`;
  Deno.stdout.writeSync(new TextEncoder().encode(`${tableOf(rows)}\n\n${circumstances}\n`));
}

async function measure(stage: Stage, plan: Plan, step: (text: string) => void): Promise<Row[]> {
  const keyRing = await loadKeyRing(stage.keyFile, { create: false });
  await using database = connectDatabase(stage.address, { poolSize: 4, patienceMs: PATIENCE_MS });
  const { db } = database;
  step("an inventory and its history go into the database");
  const populated = await populate({ db, keyRing }, plan.population);
  const asker = askerOf(stage.publicUrl, populated.token);
  step("current configurations are indexed");
  const indexing = await untilSearchable(db);
  const rows: Row[] = [];
  // Said as well when it is known: a run is long.
  const add = (...measured: readonly Row[]) => {
    rows.push(...measured);
    say(tableOf(measured));
  };
  step("lists of devices");
  add(...await measureLists(asker, populated, plan.turns));
  step("versions and differences");
  add(...await measureHistory(asker, populated, plan.turns));
  step("searches");
  add(...await measureSearch(asker, plan.turns), ...indexing);
  step("an import");
  add(...await measureImport(asker, plan.imported));
  const [memory = 0] = await stage.residentMb();
  add({ what: "control plane: memory after all of it", unit: "MB", measured: memory });
  step("a history, kept in several ways");
  using texts = startTexts();
  const { folder } = stage.group;
  add(...await measureStorage({ db, keyRing, texts }, { ...plan.history, folder }));
  return rows;
}

/** The replica indexes what waits by itself. */
async function untilSearchable(db: Kysely<Database>): Promise<Row[]> {
  const startedAt = performance.now();
  while (true) {
    const { rows } = await sql`select from current_texts where not searchable limit 1`.execute(db);
    if (rows.length === 0) break;
    await delay(200);
  }
  await sql`vacuum analyze search_lines, search_texts, current_texts`.execute(db);
  const { rows: [size] } = await sql<{ bytes: string; texts: string }>`
    select pg_total_relation_size('search_lines') + pg_total_relation_size('search_texts') as bytes,
      (select count(*) from search_texts) as texts`.execute(db);
  const texts = Number(size?.texts);
  const seconds = (performance.now() - startedAt) / 1_000;
  return [
    { what: "search index: texts indexed anew", unit: "/s", measured: texts / seconds },
    { what: "search index: a text", unit: "kB", measured: Number(size?.bytes) / texts / 1_000 },
  ];
}

if (import.meta.main) await main(Deno.args);

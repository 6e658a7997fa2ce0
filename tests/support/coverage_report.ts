/**
 * `deno task coverage`, after the tests: what they covered, by folder, as a table; fails below the floor. Programs that tests
 * start as processes of their own are not measured, so what only those run counts as not covered.
 */
import { join } from "node:path";
import process from "node:process";

const ROOT = join(import.meta.dirname ?? ".", "..", "..");
/** Of lines, in percent. */
const FLOOR = 85;
const FLOORED = ["control-plane", "agent", "shared"];

/** How much of something there is, and how much of it ran. */
export interface Count {
  readonly found: number;
  readonly hit: number;
}
export interface FileCoverage {
  /** Below the root of the tree. */
  readonly path: string;
  readonly lines: Count;
  readonly branches: Count;
}

/** Reads the report that `deno coverage --lcov` writes. */
export function readLcov(text: string, root: string): readonly FileCoverage[] {
  return text.split("end_of_record").flatMap((record) => {
    const path = /^SF:(.*)$/m.exec(record)?.[1];
    if (!path?.startsWith(`${root}/`)) return [];
    const number = (key: string) => Number(new RegExp(`^${key}:(\\d+)$`, "m").exec(record)?.[1]);
    return [{
      path: path.slice(root.length + 1),
      lines: { found: number("LF"), hit: number("LH") },
      branches: { found: number("BRF"), hit: number("BRH") },
    }];
  });
}

/** The table, and which of the floored folders are below the floor. */
export function summariseCoverage(files: readonly FileCoverage[]): {
  readonly table: string;
  readonly below: readonly string[];
} {
  const rows = Map.groupBy(files.flatMap(placesOf), ({ place }) => place);
  const places = [...rows].sort(([one], [other]) => one < other ? -1 : 1);
  const lines = places.map(([place, inPlace]) => {
    const [covered, branches] = (["lines", "branches"] as const).map((what) =>
      percentOf(inPlace.map(({ file }) => file[what]))
    );
    return `${place.padEnd(32)} ${covered?.padStart(7)} ${branches?.padStart(9)}`;
  });
  const below = FLOORED.filter((folder) => {
    const counts = files.filter(({ path }) => path.startsWith(`${folder}/`)).map((file) =>
      file.lines
    );
    return shareOf(counts) * 100 < FLOOR;
  });
  return { table: [`${"".padEnd(32)}   lines  branches`, ...lines].join("\n"), below };
}

/** `control-plane/jobs/fence.ts` counts for `control-plane` and for `control-plane/jobs`. */
function placesOf(file: FileCoverage): { readonly place: string; readonly file: FileCoverage }[] {
  const [top = "", ...rest] = file.path.split("/");
  const places = rest.length > 1 ? [top, `${top}/${rest[0]}`] : [top];
  return places.map((place) => ({ place, file }));
}

function shareOf(counts: readonly Count[]): number {
  const sum = (what: keyof Count) => counts.reduce((total, count) => total + count[what], 0);
  return sum("hit") / sum("found");
}

function percentOf(counts: readonly Count[]): string {
  const share = shareOf(counts);
  return Number.isNaN(share) ? "" : `${(share * 100).toFixed(1)} %`;
}

/** Sources that no test loaded stand in no report; all of their lines count. */
async function unloaded(known: ReadonlySet<string>, folder: string): Promise<FileCoverage[]> {
  const found: FileCoverage[] = [];
  for await (const { name, isDirectory } of Deno.readDir(join(ROOT, folder))) {
    const path = `${folder}/${name}`;
    if (isDirectory && !/^(?:node_modules|dist)$/.test(name)) {
      found.push(...await unloaded(known, path));
    }
    if (!/(?<!_test)\.ts$/.test(name) || known.has(path)) continue;
    const text = await Deno.readTextFile(join(ROOT, path));
    const lines = text.split("\n").filter((line) => line.trim() !== "").length;
    found.push({ path, lines: { found: lines, hit: 0 }, branches: { found: 0, hit: 0 } });
  }
  return found;
}

async function main(folder: string): Promise<number> {
  const { success, stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["coverage", "--lcov", folder],
    stderr: "inherit",
  }).output();
  if (!success) return 1;
  const loaded = readLcov(new TextDecoder().decode(stdout), ROOT)
    .filter(({ path }) => FLOORED.some((top) => path.startsWith(`${top}/`)));
  const known = new Set(loaded.map(({ path }) => path));
  const others = (await Promise.all(FLOORED.map((top) => unloaded(known, top)))).flat();
  const { table, below } = summariseCoverage([...loaded, ...others]);
  const verdict = below.map((top) => `${top}: fewer than ${FLOOR} % of its lines are covered`);
  const text = ["", table, "", ...verdict].join("\n");
  await Deno.stdout.write(new TextEncoder().encode(`${text}\n`));
  return below.length > 0 ? 1 : 0;
}

if (import.meta.main) process.exitCode = await main(Deno.args[0] ?? "coverage");

/** Which test files share an isolate: most of what a small file costs is to load the modules that it needs. */
import { basename, dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { makeRandom } from "./farm/random.ts";

/** Tests of Rookery, those of its whole programs, and tests of what it is tested and measured with. */
export type Part = "product" | "system" | "tools";

/** Folders of the tools. */
const TOOLS = ["tests/bench/", "tests/demo/", "tests/mutants/", "tests/support/"];

/**
 * They start, kill and restart whole programs, servers or devices, and take as long as all others together: a run of their own
 * keeps the others quick enough to be run after each change.
 */
export const SYSTEM = [
  "tests/fleet/restart_test.ts",
  "tests/fleet/stored_truth_test.ts",
  "tests/fleet/session_worker_test.ts",
  "tests/fleet/spool_kill_test.ts",
  "tests/fleet/database_crash_test.ts",
  "tests/database/embedded_test.ts",
  "tests/fleet/identity_kill_test.ts",
  "tests/fleet/rewrap_keys_test.ts",
  "tests/fleet/live_frr_test.ts",
  "tests/fleet/agent_program_test.ts",
  "tests/fleet/agent_unit_test.ts",
  "tests/fleet/spool_disk_test.ts",
  "tests/fleet/own_backup_test.ts",
];

/** Begun first, each in an isolate of its own, so that none of them is what the run waits for in the end. */
export const LONGEST = [
  "tests/faults/main_test.ts",
  "tests/fleet/network_half_open_test.ts",
  "tests/bench/agents_bench_test.ts",
  "tests/support/run_tests_test.ts",
  "tests/fleet/identity_clone_test.ts",
  "tests/web/pages_test.ts",
];

/** What they measure is of their own isolate, its memory or its event loop. */
export const ALONE = [
  "tests/api/backups_texts_test.ts",
  "tests/fleet/malformed_requests_test.ts",
  "tests/fleet/network_slow_clients_test.ts",
  "tests/fleet/syslog_test.ts",
];

/** Fewer would load more often; more would leave one processor idle while the last group ends. */
const MOST_FILES = 8;
const NO_SOURCE = /^(?:\..*|node_modules|dist|data|coverage)$/;
const LOADER = new URL("test_group.ts", import.meta.url).href;

export interface GroupOptions {
  /** Where the modules go. */
  readonly folder: string;
  readonly parts: readonly Part[];
  /** Shuffles the files of each folder, the same way for the same seed. Default: by name, backwards. */
  readonly seed?: number | undefined;
  /** Only what lies below these folders, of whatever part. */
  readonly within?: readonly string[] | undefined;
}

/** Writes a module for each group of these parts below `folder`; returns what `deno test` is to be given, in this order. */
export async function groupTests(
  root: string,
  { folder, parts, seed, within }: GroupOptions,
): Promise<readonly string[]> {
  // Folders in this order: tests take longer than unit tests, which fill what is left of the time.
  const sorted = (await listTests(root)).sort().reverse()
    .filter((file) => within ? isWithin(file, within) : parts.includes(partOf(file)));
  const files = seed === undefined ? sorted : shuffleInFolders(sorted, seed);
  const alone = [...LONGEST, ...SYSTEM, ...ALONE].filter((file) => files.includes(file));
  const groups = [
    ...alone.map((file) => [file]),
    ...formGroups(files.filter((file) => !alone.includes(file))),
  ];
  // Those that stand alone as well: deno test runs what lies outside of the workspace before what lies in it.
  return await Promise.all(groups.map(async (group, index) => {
    const number = String(index + 1).padStart(3, "0");
    const name = group.length === 1 ? basename(group[0] ?? "") : "group_test.ts";
    const path = join(folder, `${number}_${name}`);
    await Deno.writeTextFile(path, moduleOf(root, group));
    return path;
  }));
}

/** Which files share an isolate, and which comes first; folders stay together, since their files need the same modules. */
function shuffleInFolders(files: readonly string[], seed: number): readonly string[] {
  const random = makeRandom(seed);
  const ranked = files.map((file) => ({ file, rank: random.integer(0, 2 ** 31) }));
  const folders = [...new Set(files.map(dirname))];
  return folders.flatMap((folder) =>
    ranked.filter(({ file }) => dirname(file) === folder)
      .sort((one, other) => one.rank - other.rank).map(({ file }) => file)
  );
}

function isWithin(file: string, folders: readonly string[]): boolean {
  return folders.some((folder) => file.startsWith(join(folder, "/")));
}

function partOf(file: string): Part {
  if (TOOLS.some((tools) => file.startsWith(tools))) return "tools";
  return SYSTEM.includes(file) ? "system" : "product";
}

async function listTests(root: string, folder = ""): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, isDirectory, isFile } of Deno.readDir(join(root, folder))) {
    const path = `${folder}${name}`;
    if (isDirectory && !NO_SOURCE.test(name)) found.push(...await listTests(root, `${path}/`));
    if (isFile && name.endsWith("_test.ts")) found.push(path);
  }
  return found;
}

/** Neighbours need the same modules. */
function formGroups(files: readonly string[]): readonly (readonly string[])[] {
  const count = Math.ceil(files.length / MOST_FILES);
  return Array.from({ length: count }, (_, index) => {
    const [from, to] = [index, index + 1].map((part) => Math.round(part * files.length / count));
    return files.slice(from, to);
  });
}

function moduleOf(root: string, files: readonly string[]): string {
  const lines = files.map((file) => {
    const url = JSON.stringify(pathToFileURL(join(root, file)).href);
    return `await loadTestFile(${JSON.stringify(file)}, () => import(${url}));\n`;
  });
  return `import { loadTestFile } from ${JSON.stringify(LOADER)};\n${lines.join("")}`;
}

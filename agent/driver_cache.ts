import { join } from "node:path";
import type { Sha256 } from "@rookery/shared/ids.ts";
import { MAX_DRIVER_TOKEN } from "@rookery/shared/drivers/signed_driver.ts";
import { diskFiles } from "./spool_files.ts";

/** Far more platforms than one agent meets. */
const MAX_FILES = 64;
const NAME = /^([0-9a-f]{64})\.jws$/;

/** Signed drivers on disk, one file each, in `drivers/` of the state folder: written whole and synced, or not at all. */
export class DriverCache {
  readonly #folder: string;

  constructor(stateFolder: string) {
    this.#folder = join(stateFolder, "drivers");
  }

  /** What is there, unchecked; what is no whole file of ours is removed. */
  async readAll(): Promise<readonly { readonly sha256: Sha256; readonly token: string }[]> {
    await diskFiles.makeFolder(this.#folder);
    const found: { sha256: Sha256; token: string }[] = [];
    for (const { name, bytes } of await diskFiles.list(this.#folder)) {
      const sha256 = NAME.exec(name)?.[1] as Sha256 | undefined;
      if (sha256 === undefined || bytes > MAX_DRIVER_TOKEN || found.length >= MAX_FILES) {
        await diskFiles.remove(join(this.#folder, name));
      } else found.push({ sha256, token: await Deno.readTextFile(this.#pathOf(sha256)) });
    }
    return found;
  }

  /** On disk when it returns. With too many there, others go first. */
  async keep(sha256: Sha256, token: string): Promise<void> {
    await diskFiles.makeFolder(this.#folder);
    const others = (await diskFiles.list(this.#folder)).filter(({ name }) => NAME.test(name));
    for (const { name } of others.slice(0, Math.max(0, others.length - MAX_FILES + 1))) {
      await diskFiles.remove(join(this.#folder, name));
    }
    const path = this.#pathOf(sha256);
    await diskFiles.write(`${path}.new`, [new TextEncoder().encode(token)]);
    await diskFiles.sync(`${path}.new`);
    await diskFiles.rename(`${path}.new`, path);
    await diskFiles.sync(this.#folder);
  }

  async remove(sha256: Sha256): Promise<void> {
    await diskFiles.remove(this.#pathOf(sha256));
  }

  #pathOf(sha256: Sha256): string {
    return join(this.#folder, `${sha256}.jws`);
  }
}

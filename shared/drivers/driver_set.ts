import { digestOf } from "../canonical_json.ts";
import type { Sha256 } from "../ids.ts";
import type { Driver } from "./driver.ts";

/** Drivers of one side, at most one for each platform, with their digests: each worked out once. */
export class DriverSet {
  readonly #drivers: ReadonlyMap<string, Driver>;
  #digests: Promise<Readonly<Record<string, Sha256>>> | undefined;

  constructor(drivers: Iterable<Driver>) {
    this.#drivers = new Map([...drivers].map((driver) => [driver.platform, driver]));
  }

  find(platform: string): Driver | undefined {
    return this.#drivers.get(platform);
  }

  /** The digest of every driver, by platform. */
  digests(): Promise<Readonly<Record<string, Sha256>>> {
    return this.#digests ??= this.#digestAll();
  }

  async findByDigest(sha256: Sha256): Promise<Driver | undefined> {
    const found = Object.entries(await this.digests()).find(([, digest]) => digest === sha256);
    return found && this.#drivers.get(found[0]);
  }

  async #digestAll(): Promise<Readonly<Record<string, Sha256>>> {
    const entries = [...this.#drivers].map(async ([platform, driver]) =>
      [platform, await digestOf(driver)] as const
    );
    return Object.fromEntries(await Promise.all(entries));
  }
}

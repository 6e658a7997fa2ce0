import type { Kysely } from "kysely";
import { DEFAULTS, type SettingValues } from "@rookery/shared/settings/mod.ts";
import type { Database } from "../database/schema.ts";
import { readSettings } from "./store.ts";

/** How old what a replica goes by may be: with the time of the statement itself, well below two seconds. */
const FRESH_MS = 1_000;

interface Reading {
  readonly startedAt: number;
  readonly values: Promise<SettingValues>;
}

/**
 * The settings as this process goes by them: read when they are asked for and what was read last is a second old. Nothing is
 * sent between replicas, so nothing can get lost between them; who asks for nothing costs nothing.
 */
export class LiveSettings {
  readonly #db: Kysely<Database>;
  #reading: Reading | undefined;
  #known: { readonly startedAt: number; readonly values: SettingValues } = {
    startedAt: -Infinity,
    values: DEFAULTS,
  };

  constructor(db: Kysely<Database>) {
    this.#db = db;
  }

  /** What is in force; at most a second old. */
  read(): Promise<SettingValues> {
    const now = performance.now();
    if (!this.#reading || now - this.#reading.startedAt > FRESH_MS) {
      this.#reading = { startedAt: now, values: this.#readNow(now) };
    }
    return this.#reading.values;
  }

  /** What was read last, for those who cannot wait; somebody must go on calling `read()`. */
  get known(): SettingValues {
    return this.#known.values;
  }

  /** After a change made here, which is in force at once here. */
  async refresh(): Promise<void> {
    this.#reading = undefined;
    await this.read();
  }

  async #readNow(startedAt: number): Promise<SettingValues> {
    try {
      const { values } = await readSettings(this.#db);
      if (startedAt >= this.#known.startedAt) this.#known = { startedAt, values };
      return values;
    } catch (error) {
      if (this.#reading?.startedAt === startedAt) this.#reading = undefined;
      throw error;
    }
  }
}

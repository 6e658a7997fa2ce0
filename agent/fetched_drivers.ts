import type { Driver } from "@rookery/shared/drivers/driver.ts";
import { SHIPPED_DRIVERS } from "@rookery/shared/drivers/mod.ts";
import type { WantedDriver } from "@rookery/shared/drivers/signed_driver.ts";
import type { Sha256 } from "@rookery/shared/ids.ts";
import { checkDriver, type CheckedDriver, DriverRefusedError } from "./check_driver.ts";
import type { Clock } from "./clock.ts";
import { DriverCache } from "./driver_cache.ts";
import { errorText, type Log } from "./log.ts";
import type { StateFolder } from "./state_folder.ts";
import type { TrustRoot } from "./trust_root.ts";

/** How long a driver that was refused is not asked for again. */
const REFUSED_MS = 3_600_000;

export interface FetchedDriversOptions {
  readonly state: Pick<StateFolder, "path">;
  readonly issuer: string;
  readonly trust: Pick<TrustRoot, "signingKey" | "signingKeys">;
  /** The local policy's word: without it, drivers that this agent did not bring are neither fetched nor read. */
  readonly isAllowed: boolean;
  readonly clock: Clock;
  readonly log: Log;
}

export type FetchToken = (sha256: Sha256) => Promise<string>;

/** The drivers of this agent: those that it brought, and those that it fetched, checked, and keeps on disk. */
export class FetchedDrivers {
  readonly #options: FetchedDriversOptions;
  readonly #cache: DriverCache;
  readonly #fetched = new Map<Sha256, CheckedDriver>();
  /** By platform, where it is another one than this agent brought. */
  readonly #chosen = new Map<string, Sha256>();
  readonly #silentUntilMs = new Map<Sha256, number>();
  #taking: Promise<boolean> | undefined;

  private constructor(options: FetchedDriversOptions) {
    this.#options = options;
    this.#cache = new DriverCache(options.state.path);
  }

  static async open(options: FetchedDriversOptions): Promise<FetchedDrivers> {
    const drivers = new FetchedDrivers(options);
    if (!options.isAllowed) return drivers;
    await drivers.#readCache().catch((error) => {
      // What cannot be read is fetched again; an agent must not stay away for it.
      options.log("warn", "drivers_not_read", { reason: errorText(error) });
    });
    return drivers;
  }

  /** The digest of the driver in use for each platform, as the control plane is told. */
  async digests(): Promise<Readonly<Record<string, Sha256>>> {
    return { ...await SHIPPED_DRIVERS.digests(), ...Object.fromEntries(this.#chosen) };
  }

  /** A driver that a lease names, of whichever source. */
  async find({ platform, sha256 }: WantedDriver): Promise<Driver | undefined> {
    const driver = await SHIPPED_DRIVERS.findByDigest(sha256) ?? this.#fetched.get(sha256)?.driver;
    return driver?.platform === platform ? driver : undefined;
  }

  /**
   * Takes up what the control plane wants used, one order at a time; true when other digests are to be reported. Never
   * throws: what cannot be had now is named again by the next session.
   */
  want(wanted: readonly WantedDriver[], fetch: FetchToken): Promise<boolean> {
    if (this.#taking) return Promise.resolve(false);
    this.#taking = this.#takeAll(wanted, fetch).finally(() => this.#taking = undefined);
    return this.#taking;
  }

  /** Resolves when nothing is being fetched. */
  async idle(): Promise<void> {
    await this.#taking;
  }

  async #takeAll(wanted: readonly WantedDriver[], fetch: FetchToken): Promise<boolean> {
    let changed = false;
    for (const one of wanted) {
      if (!await this.find(one) && !await this.#fetch(one, fetch)) continue;
      changed = await this.#choose(one) || changed;
    }
    return changed;
  }

  async #choose({ platform, sha256 }: WantedDriver): Promise<boolean> {
    if ((await this.digests())[platform] === sha256) return false;
    this.#chosen.set(platform, sha256);
    return true;
  }

  async #fetch(wanted: WantedDriver, fetch: FetchToken): Promise<boolean> {
    const { isAllowed, issuer, trust, clock, log } = this.#options;
    const { platform, sha256 } = wanted;
    if ((this.#silentUntilMs.get(sha256) ?? -Infinity) > clock.now()) return false;
    if (!isAllowed) return this.#refuse(wanted, { reason: NOT_ALLOWED, level: "warn" });
    try {
      const token = await fetch(sha256);
      const signingKey = (kid: string) => trust.signingKey(kid);
      const checked = await checkDriver(token, { issuer, signingKey, wanted });
      await this.#cache.keep(sha256, token);
      this.#fetched.set(sha256, checked);
      log("info", "driver_fetched", { platform, sha256 });
      return true;
    } catch (error) {
      const reason = errorText(error);
      if (error instanceof DriverRefusedError) {
        return this.#refuse(wanted, { reason, level: "error" });
      }
      log("warn", "driver_not_fetched", { platform, sha256, reason });
      return false;
    }
  }

  #refuse(
    { platform, sha256 }: WantedDriver,
    { reason, level }: { reason: string; level: "warn" | "error" },
  ): false {
    this.#silentUntilMs.set(sha256, this.#options.clock.now() + REFUSED_MS);
    this.#options.log(level, "driver_refused", { platform, sha256, reason });
    return false;
  }

  /** Checked as on the day they came: the disk is no better than the network. */
  async #readCache(): Promise<void> {
    const { issuer, trust, log } = this.#options;
    const own = await SHIPPED_DRIVERS.digests();
    const signingKey = (kid: string) => trust.signingKeys.find((key) => key.kid === kid);
    for (const { sha256, token } of await this.#cache.readAll()) {
      try {
        const checked = await checkDriver(token, { issuer, signingKey });
        if (checked.sha256 !== sha256) throw new DriverRefusedError("It has another name");
        this.#fetched.set(sha256, checked);
        if (!(checked.platform in own)) this.#chosen.set(checked.platform, sha256);
      } catch (error) {
        log("warn", "driver_dropped", { sha256, reason: errorText(error) });
        await this.#cache.remove(sha256);
      }
    }
  }
}

const NOT_ALLOWED = "The agent's local policy allows no drivers but its own. " +
  "Update the agent, or set policy.fetchedDrivers to true in settings.json of the agent; then restart it";

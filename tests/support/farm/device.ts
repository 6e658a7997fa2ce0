import net, { type AddressInfo, type Server, type Socket } from "node:net";
import { BEHAVIOURS } from "./behaviours.ts";
import { type Incoming, serveConnection, untilEnded } from "./connection.ts";
import { DeviceJournal, type DeviceLog } from "./device_log.ts";
import { appliesTo, type Fault } from "./fault.ts";
import { type HostKey, type KeyType, makeHostKey } from "./key_pair.ts";
import { DEFAULT_LOGIN, type Login } from "./login.ts";
import { PLATFORM_MANNERS } from "./platform.ts";
import type { FarmPlatform, Recording } from "./recording.ts";

export interface DeviceOptions {
  readonly login?: Login;
  readonly fault?: Fault;
  readonly hostKeyType?: KeyType;
  /** A host key to share; by default every device has its own. */
  readonly hostKey?: HostKey;
  /** Goes on paging although paging was turned off. */
  readonly stickyPager?: boolean;
  readonly pagerErase?: "backspaces" | "blanks";
  /** Told of everything that comes over the wire, connection by connection. */
  readonly onEvent?: (event: WireEvent) => void;
}

/** What a device sees; connections are numbered from 1, each device's by themselves. */
export interface WireEvent {
  readonly event: "opened" | "login" | "command" | "sent" | "closed";
  readonly connection: number;
  readonly user?: string;
  readonly accepted?: boolean;
}

/** A device of the farm: a real SSH server on a loopback port of its own. */
export interface FarmDevice extends AsyncDisposable {
  readonly host: "127.0.0.1";
  readonly port: number;
  readonly platform: FarmPlatform;
  readonly hostname: string;
  readonly login: Login;
  /** The secrets in the configuration that it was started with. */
  readonly secrets: readonly string[];
  readonly hostKey: Pick<HostKey, "type" | "fingerprint">;
  /** The configuration without the lines that change at each call. */
  readonly text: string;
  /**
   * What the capture command showed when it last ran to its end, or will show next: the text between echo
   * and prompt, lines ended by `\n`.
   */
  readonly configuration: string;
  /** The last captures that ran to their end, oldest first, as in `configuration`. */
  readonly sent: readonly string[];
  readonly log: DeviceLog;
  readonly fault: Fault | undefined;
  setConfiguration(text: string): void;
  /** Orders a fault for the next `times` connections (for all without it), or ends it. */
  setFault(fault: Fault | undefined, options?: { readonly times?: number }): Promise<void>;
  /** Gives the device a new host key, for good. */
  setHostKey(type?: KeyType): void;
  stop(): Promise<void>;
}

const SENT_KEPT = 4;
const HOST = "127.0.0.1";

let legacyHostKey: HostKey | undefined;

/** One RSA key for all: making one takes a second, and only old devices need it. */
function takeLegacyHostKey(): HostKey {
  return legacyHostKey ??= makeHostKey("rsa");
}

/** Starts a device that plays `recording`. */
export async function startDevice(
  recording: Recording,
  options: DeviceOptions = {},
): Promise<FarmDevice> {
  const device = new Device(recording, options);
  await device.start();
  await device.setFault(options.fault);
  return device;
}

class Device implements FarmDevice {
  readonly host = HOST;
  readonly log = new DeviceJournal();
  readonly login: Login;
  text: string;
  sent: readonly string[] = [];
  fault: Fault | undefined;
  port = 0;
  #calls = 0;
  #timesLeft = Infinity;
  #hostKey: HostKey;
  #listener: Server | undefined;
  readonly #sockets = new Map<Socket, AbortController>();
  readonly #work = new Set<Promise<void>>();
  readonly #recording: Recording;
  readonly #options: DeviceOptions;

  constructor(recording: Recording, options: DeviceOptions) {
    this.#recording = recording;
    this.#options = options;
    this.text = recording.configuration;
    this.login = options.login ?? DEFAULT_LOGIN;
    this.#hostKey = options.hostKey ?? makeHostKey(options.hostKeyType);
  }

  get platform(): FarmPlatform {
    return this.#recording.platform;
  }

  get hostname(): string {
    return this.#recording.hostname;
  }

  get secrets(): readonly string[] {
    return this.#recording.secrets;
  }

  get hostKey(): HostKey {
    return this.#hostKey;
  }

  get configuration(): string {
    return this.sent.at(-1) ?? this.#render(this.text, this.#calls);
  }

  #render(text: string, call: number): string {
    return PLATFORM_MANNERS[this.platform].render(text, call);
  }

  setConfiguration(text: string): void {
    this.text = text;
    this.sent = [];
  }

  setHostKey(type?: KeyType): void {
    this.#hostKey = makeHostKey(type ?? this.#options.hostKeyType);
  }

  async setFault(
    fault: Fault | undefined,
    { times = Infinity }: { readonly times?: number } = {},
  ): Promise<void> {
    if (fault && !appliesTo(fault, this.platform)) {
      throw new TypeError(`Cannot order ${fault} of ${this.hostname}: not on ${this.platform}`);
    }
    if (fault === "refuse" && times !== Infinity) {
      throw new TypeError(`Cannot count refusals of ${this.hostname}: it does not see them`);
    }
    this.fault = fault;
    this.#timesLeft = times;
    if (fault === "refuse") await this.#close();
    else if (!this.#listener) await this.start();
  }

  /** The fault of the connection that has just come in. */
  #takeFault(): Fault | undefined {
    const fault = this.fault;
    if (fault && --this.#timesLeft <= 0) this.fault = undefined;
    return fault;
  }

  async start(): Promise<void> {
    const listener = net.createServer((socket) => this.#accept(socket));
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    listener.once("error", reject);
    listener.listen(this.port, HOST, resolve);
    await promise;
    this.port = (listener.address() as AddressInfo).port;
    this.#listener = listener;
  }

  async #close(): Promise<void> {
    const listener = this.#listener;
    this.#listener = undefined;
    if (!listener) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    listener.close(() => resolve());
    for (const socket of this.#sockets.keys()) socket.destroy();
    await promise;
  }

  #accept(socket: Socket): void {
    const over = new AbortController();
    this.#sockets.set(socket, over);
    this.log.opened();
    const connection = this.log.connections;
    const tell = (event: Omit<WireEvent, "connection">) =>
      this.#options.onEvent?.({ ...event, connection });
    tell({ event: "opened" });
    socket.setNoDelay(true);
    socket.on("error", () => {});
    socket.once("close", () => {
      this.#sockets.delete(socket);
      this.log.closed();
      tell({ event: "closed" });
      over.abort();
    });
    serveConnection(this.#incoming(socket, { signal: over.signal, tell }));
  }

  #incoming(
    socket: Socket,
    { signal, tell }: {
      signal: AbortSignal;
      tell: (event: Omit<WireEvent, "connection">) => void;
    },
  ): Incoming {
    const fault = this.#takeFault();
    const behaviour = fault ? BEHAVIOURS[fault] : {};
    return {
      recording: this.#recording,
      login: this.login,
      behaviour,
      socket,
      signal,
      hostKey: this.#hostKeyFor(behaviour.server),
      pager: {
        sticky: this.#options.stickyPager ?? false,
        erase: this.#options.pagerErase ?? "backspaces",
      },
      makeCapture: (change) => this.#render(change(this.text), this.#calls++),
      recordSent: (text) => {
        this.sent = [...this.sent, text].slice(-SENT_KEPT);
        tell({ event: "sent" });
      },
      recordCommand: (command) => {
        this.log.add(this.log.commands, command);
        tell({ event: "command" });
      },
      recordEnable: () => this.log.enableAttempts++,
      recordLogin: (attempt) => {
        this.log.add(this.log.logins, attempt);
        const { username: user, accepted } = attempt;
        tell({ event: "login", user, accepted });
      },
      recordChannel: (kind) => kind === "shell" ? this.log.shells++ : this.log.execs++,
      track: (work) => this.#track(untilEnded(work)),
    };
  }

  #hostKeyFor(server: "other_host_key" | "legacy_algorithms" | undefined): HostKey {
    if (server === "legacy_algorithms") return takeLegacyHostKey();
    return server === "other_host_key" ? makeHostKey() : this.#hostKey;
  }

  #track(work: Promise<void>): void {
    this.#work.add(work);
    void work.finally(() => this.#work.delete(work));
  }

  /** Stops listening, breaks every connection and waits until nothing runs any more. */
  async stop(): Promise<void> {
    await this.#close();
    await Promise.all(this.#work);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

import type { HostKeySeen } from "@rookery/shared/jobs/backup_config.ts";
import type { HostKeyPolicy } from "@rookery/shared/jobs/lease.ts";
import type { Socket } from "node:net";
// @ts-types="@types/ssh2"
import ssh2 from "ssh2";
import { algorithmsFor, nothingInCommon } from "./algorithms.ts";
import { releaseCiphers } from "./cipher_release.ts";
import { openConnection } from "./connection.ts";
import { within } from "./deadline.ts";
import { describeHostKey, sameHostKey, whyRefused } from "./host_key.ts";
import { type ServerOffer, watchServerOffer } from "./kexinit.ts";
import { Login, type LoginSecrets, passwordExpired } from "./login.ts";
import type { StageOptions } from "./socket.ts";
import { DeviceError, type Stage, toDeviceError } from "./ssh_failure.ts";
import type { DeviceConnection, NegotiatedAlgorithms } from "./transport.ts";
import { turnMarker } from "./turn.ts";

/** What the handshake needs besides the socket. */
export interface HandshakeOptions extends StageOptions {
  readonly secrets: LoginSecrets;
  readonly hostKeyPolicy: HostKeyPolicy;
  readonly hostKeys: readonly HostKeySeen[];
  readonly legacyAlgorithms: boolean;
}

/** Runs the key exchange and the login on a socket whose identification line has arrived. The socket stays the caller's. */
export async function handshake(
  socket: Socket,
  options: HandshakeOptions,
): Promise<DeviceConnection> {
  const attempt = new Attempt(socket, options);
  const agreed = await within(attempt.agreed, {
    ...options,
    onTimeout: () =>
      new DeviceError(
        "handshake_failed",
        `Cannot connect to ${options.where}: no key exchange in ${options.seconds} s`,
      ),
  });
  await within(attempt.loggedIn, {
    ...options,
    onTimeout: () =>
      new DeviceError(
        "login_timed_out",
        `Cannot log in to ${options.where}: no answer in ${options.seconds} s`,
      ),
  });
  return openConnection(attempt.client, { ...options, ...agreed, socket });
}

interface Agreed {
  readonly hostKey: HostKeySeen;
  readonly algorithms: NegotiatedAlgorithms;
}

/** One key exchange and login: turns ssh2's events into two promises, the first error winning. */
class Attempt {
  readonly client = new ssh2.Client();
  readonly #agreed = Promise.withResolvers<Agreed>();
  readonly #loggedIn = Promise.withResolvers<void>();
  readonly #options: HandshakeOptions;
  readonly #offer: () => ServerOffer | undefined;
  readonly #login: Login;
  #stage: Stage = "handshake";
  #hostKey: HostKeySeen | undefined;

  constructor(socket: Socket, options: HandshakeOptions) {
    this.#options = options;
    this.#login = new Login(options.secrets, (error) => this.#fail(error));
    this.#offer = watchServerOffer(socket);
    releaseCiphers(this.client, socket);
    // Either promise may fail while the other one is waited for.
    this.#agreed.promise.catch(() => {});
    this.#loggedIn.promise.catch(() => {});
    this.#listen();
    this.#start(socket);
    // Before ssh2 works on what came: a key exchange or a packet may take it long.
    socket.prependListener("data", turnMarker());
  }

  get agreed(): Promise<Agreed> {
    return this.#agreed.promise;
  }

  get loggedIn(): Promise<void> {
    return this.#loggedIn.promise;
  }

  #listen(): void {
    this.client
      .on("handshake", (negotiated) => this.#onHandshake(negotiated))
      .on("ready", () => this.#loggedIn.resolve())
      .on("error", (error) => this.#fail(this.#explain(error)))
      .on("change password", (prompt) => this.#fail(passwordExpired(this.#options.where, prompt)))
      .on("end", () => this.#fail(this.#explainClosed()))
      .on("close", () => this.#fail(this.#explainClosed()));
  }

  #start(socket: Socket): void {
    try {
      this.client.connect({
        sock: socket,
        username: this.#options.secrets.username,
        ident: "Rookery",
        algorithms: algorithmsFor(this.#options),
        // Our own timers bound each stage, with a failure code of its own.
        readyTimeout: 0,
        // Some devices never answer keepalive@openssh.com, and ssh2 would then end a healthy session.
        keepaliveInterval: 0,
        hostVerifier: (blob: Uint8Array, verify: (accepted: boolean) => void) => {
          // The callback form, with nothing returned: a returned promise would count as "accepted" (ssh2 #1268).
          verify(this.#acceptsHostKey(blob));
        },
        authHandler: (offered, partialSuccess, next) =>
          this.#login.next(offered, partialSuccess, next),
      });
    } catch (error) {
      this.#fail(toDeviceError(error, this.#stage, this.#options));
    }
  }

  /** Also called at every re-keying, when the device must show the same key again. */
  #acceptsHostKey(blob: Uint8Array): boolean {
    try {
      const seen = describeHostKey(blob);
      const refusal = this.#hostKey && !sameHostKey(this.#hostKey, seen)
        ? whyRefused(seen, { ...this.#options, hostKeys: [this.#hostKey] })
        : whyRefused(seen, this.#options);
      if (refusal) this.#fail(refusal);
      else this.#hostKey = seen;
      return !refusal;
    } catch (error) {
      this.#fail(toDeviceError(error, "handshake", this.#options));
      return false;
    }
  }

  #onHandshake(negotiated: ssh2.NegotiatedAlgorithms): void {
    if (this.#stage !== "handshake") return;
    if (!this.#hostKey) {
      this.#fail(
        new DeviceError("handshake_failed", "Cannot check the device: it showed no host key"),
      );
      // Nothing may be sent after this: the login starts right behind this event.
      this.client.destroy();
      return;
    }
    this.#stage = "login";
    this.#agreed.resolve({
      hostKey: this.#hostKey,
      algorithms: {
        kex: negotiated.kex,
        cipher: negotiated.sc.cipher,
        mac: negotiated.sc.mac || "implicit",
        hostKey: negotiated.serverHostKey,
      },
    });
  }

  #explain(error: Error): DeviceError {
    const { where, legacyAlgorithms } = this.#options;
    if (this.#stage === "handshake") {
      const offer = this.#offer();
      const explained = offer && nothingInCommon(offer, { where, legacyAlgorithms });
      if (explained) return explained;
    }
    const known = toDeviceError(error, this.#stage, { where });
    const disconnected = "code" in error && typeof error.code === "number";
    return disconnected && known.code === "connection_lost" && this.#login.secretShown
      ? this.#login.rejection()
      : known;
  }

  /**
   * The device closed the connection in good order. When a secret is its last word unanswered, that is a refusal: taken for
   * a broken line it would be tried again, and a few tries lock the account.
   */
  #explainClosed(): DeviceError {
    if (this.#stage === "handshake") return this.#explain(new Error("it closed the connection"));
    if (this.#login.secretShown) return this.#login.rejection();
    return toDeviceError(new Error("it closed the connection"), this.#stage, this.#options);
  }

  /** The first failure is the cause; whatever follows is its echo. */
  #fail(error: DeviceError): void {
    this.#agreed.reject(error);
    this.#loggedIn.reject(error);
  }
}

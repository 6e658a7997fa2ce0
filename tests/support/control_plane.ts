/** The real control plane in this process, over the database of a test file and without a socket. */
import { call, type CallOptions, type Send } from "@rookery/shared/client.ts";
import { login } from "@rookery/shared/api/sessions.ts";
import { setUp } from "@rookery/shared/api/setup.ts";
import type { DriverSet } from "@rookery/shared/drivers/driver_set.ts";
import type { AnyEndpoint, CallInput, CallReply } from "@rookery/shared/endpoint.ts";
import { createApp } from "../../control-plane/app.ts";
import type { App } from "../../control-plane/http/app_type.ts";
import { readTrustedProxies } from "../../control-plane/http/address.ts";
import type { LogLine } from "../../control-plane/http/log.ts";
import { makeKeys } from "../../control-plane/keys/key_file.ts";
import { type KeyRing, openKeyRing } from "../../control-plane/keys/key_ring.ts";
import type { StreamTimes } from "../../control-plane/outbox/open_stream.ts";
import { type Services, startServices } from "../../control-plane/services.ts";
import { issueSetupLink } from "../../control-plane/setup/setup_link.ts";
import type { TestDatabase } from "./database.ts";
import { ADMINISTRATOR, sharedPasswords } from "./passwords.ts";

export interface TestControlPlaneOptions {
  /** Default `http://rookery.test`. */
  readonly publicUrl?: string;
  /** Makes its keys. Default: fresh ones that stand in no file. */
  readonly makeKeyRing?: () => Promise<KeyRing>;
  /** Default: those that ship. */
  readonly drivers?: DriverSet;
  /** Default: the one of this release. */
  readonly engineVersion?: string;
  /** Of streams of events. */
  readonly streamTimes?: StreamTimes;
}

/** A control plane, usable inside tests. */
export interface TestControlPlane {
  readonly app: App;
  readonly services: Services;
  readonly publicUrl: string;
  /** Sends a request as it is; a path is completed by the public URL. */
  fetch(input: string | Request, init?: RequestInit): Promise<Response>;
  /** Calls an endpoint as nobody. */
  call: Call;
  /** Logs in as somebody else. */
  logIn(username: string, password: string): Promise<Person>;
  /** The administrator, made by the setup link at the first call. */
  administrator(): Promise<Person>;
  /** What was logged, oldest first. */
  readonly log: readonly LogLine[];
}

export type Call = <E extends AnyEndpoint>(
  endpoint: E,
  input: CallInput<E>,
  options?: CallOptions,
) => Promise<CallReply<E>>;

/** A person in a browser: calls carry the cookie and the Origin header. */
export interface Person {
  readonly call: Call;
  /** The `Cookie` header. */
  readonly cookie: string;
  /** The `Set-Cookie` header of the login. */
  readonly setCookie: string;
}

export { ADMINISTRATOR };

/** Call it at the top of a test file, after `testDatabase()`. */
export function testControlPlane(
  database: TestDatabase,
  options: TestControlPlaneOptions = {},
): TestControlPlane {
  const publicUrl = options.publicUrl ?? "http://rookery.test";
  let running: RunningControlPlane | undefined;
  Deno.test.beforeAll(async () => {
    const { makeKeyRing = makeFreshKeyRing } = options;
    running = await startControlPlane(database, { ...options, publicUrl, makeKeyRing });
  });
  Deno.test.afterAll(async () => await running?.services[Symbol.asyncDispose]());
  const get = () => {
    if (running) return running;
    throw new Error("Cannot use the control plane: it exists only while tests run");
  };
  const send: Send = (request) => get().app.fetch(request, { remoteAddress: "192.0.2.10" });
  const fetch = async (input: string | Request, init?: RequestInit) =>
    await send(new Request(typeof input === "string" ? new URL(input, publicUrl) : input, init));
  const logIn = (username: string, password: string) =>
    enter(
      publicUrl,
      send,
      (watched) => call(watched, publicUrl, login, { body: { username, password } }),
    );
  let administrator: Promise<Person> | undefined;
  return {
    get app() {
      return get().app;
    },
    get services() {
      return get().services;
    },
    get log() {
      return get().log;
    },
    publicUrl,
    fetch,
    logIn,
    call: (endpoint, input, more) => call(send, publicUrl, endpoint, input, more),
    administrator: () => administrator ??= setUpAdministrator(get().services, send),
  };
}

interface RunningControlPlane {
  readonly app: App;
  readonly services: Services & AsyncDisposable;
  readonly log: LogLine[];
}

async function startControlPlane(
  database: TestDatabase,
  { publicUrl, makeKeyRing, drivers, engineVersion, streamTimes }:
    & TestControlPlaneOptions
    & Required<Pick<TestControlPlaneOptions, "publicUrl" | "makeKeyRing">>,
): Promise<RunningControlPlane> {
  const log: LogLine[] = [];
  const services = await startServices({
    database,
    keyRing: await makeKeyRing(),
    passwords: sharedPasswords(),
    ...drivers && { drivers },
    ...engineVersion !== undefined && { engineVersion },
    ...streamTimes && { streamTimes },
    config: { publicUrl, trustedProxies: readTrustedProxies("") },
    log: (line) => log.push(line),
  });
  return { app: createApp(services), services, log };
}

async function makeFreshKeyRing(): Promise<KeyRing> {
  return await openKeyRing(await makeKeys());
}

async function setUpAdministrator({ db, publicUrl }: Services, send: Send): Promise<Person> {
  const link = await issueSetupLink(db, publicUrl);
  if (!link) throw new Error("Cannot set up: there is an administrator already");
  const body = { ...ADMINISTRATOR, token: link.hash.slice(1) };
  return await enter(publicUrl, send, (watched) => call(watched, publicUrl, setUp, { body }));
}

/** Runs a call that logs in, and keeps the cookie that it sets. */
async function enter(
  publicUrl: string,
  send: Send,
  run: (send: Send) => Promise<unknown>,
): Promise<Person> {
  let setCookie = "";
  await run(async (request) => {
    const response = await send(request);
    // The first is that of the session; the other one says which browser it is.
    setCookie = response.headers.getSetCookie()[0] ?? "";
    return response;
  });
  const cookie = setCookie.split(";")[0] ?? "";
  return {
    cookie,
    setCookie,
    call: (endpoint, input, options) =>
      call(send, publicUrl, endpoint, input, {
        ...options,
        headers: { origin: new URL(publicUrl).origin, cookie, ...options?.headers },
      }),
  };
}

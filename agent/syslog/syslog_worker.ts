/**
 * The syslog thread: strangers' messages are heard and read here, with the one port and nothing else, so that a flood takes a
 * share of one core and nothing from device sessions. Messages in: `ToSyslogThread`; out: `FromSyslogThread`.
 */
import { MAX_AGENT_HINTS } from "@rookery/shared/api/agent_protocol.ts";
import { Intake } from "./intake.ts";
import type { FromSyslogThread, ToSyslogThread } from "./messages.ts";
import type { SyslogSettings } from "./settings.ts";
import { hearTcp, hearUdp } from "./sockets.ts";

const TELL_MS = 1_000;
/** No more is read in such a time: the rest of a flood stays in the kernel, which drops it. */
const WINDOW_MS = 100;
const MOST_IN_WINDOW = 2_000;

/** Without the worker's own library: this file is type-checked with the rest. */
interface WorkerScope {
  onmessage: ((event: MessageEvent<ToSyslogThread>) => void) | null;
  postMessage(message: FromSyslogThread): void;
}

const scope = globalThis as unknown as WorkerScope;
let mayTell = true;
let told = "";

async function listen(settings: SyslogSettings): Promise<void> {
  const intake = new Intake(settings);
  const hearing = { intake, onMessage: makePace() };
  const closing: (() => Promise<void>)[] = [];
  try {
    if (settings.udp) closing.push(await hearUdp(settings, hearing));
    if (settings.tcp) closing.push(hearTcp(settings, hearing));
  } catch (error) {
    for (const close of closing) await close();
    scope.postMessage({ type: "deaf", reason: String((error as Error).message).slice(0, 500) });
    return;
  }
  scope.postMessage({ type: "listening" });
  setInterval(() => tell(intake), TELL_MS);
}

/** One message in advance of the main thread and no more: what it has not asked for waits here, bounded. */
function tell(intake: Intake): void {
  if (!mayTell) return;
  const hints = intake.fetch(MAX_AGENT_HINTS);
  const { figures } = intake;
  const news = JSON.stringify(figures);
  if (hints.length === 0 && news === told) return;
  told = news;
  mayTell = false;
  scope.postMessage({ type: "news", hints, figures });
}

/** Lets this thread sleep once it has read its share: it may, having nothing else to do. */
function makePace(): () => void {
  const never = new Int32Array(new SharedArrayBuffer(4));
  let windowAtMs = performance.now();
  let inWindow = 0;
  return () => {
    const leftMs = windowAtMs + WINDOW_MS - performance.now();
    if (leftMs > 0 && ++inWindow <= MOST_IN_WINDOW) return;
    if (leftMs > 0) Atomics.wait(never, 0, 0, leftMs);
    windowAtMs = performance.now();
    inWindow = 1;
  };
}

scope.onmessage = ({ data }) => {
  if (data.type === "listen") void listen(data.settings);
  else mayTell = true;
};

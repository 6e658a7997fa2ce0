import { syslogWorkerUrl } from "../workers/worker_source.ts";
import { placeOf, type SyslogSettings } from "./settings.ts";

const NOTHING_ELSE = {
  read: false,
  write: false,
  env: false,
  run: false,
  ffi: false,
  sys: false,
  import: false,
} as const;

/** Starts the syslog thread: one that was taken over could hear at this port, and reach nobody. */
export function startSyslogThread(settings: SyslogSettings): Worker {
  const url = syslogWorkerUrl();
  try {
    return openWorker(url, [placeOf(settings)]);
  } catch (error) {
    // Started with a list of its own (--allow-net=…), the agent can hand on only that very list.
    if (error instanceof Deno.errors.NotCapable) return openWorker(url, "inherit");
    throw error;
  }
}

function openWorker(url: string, net: "inherit" | string[]): Worker {
  return new Worker(url, {
    type: "module",
    name: "syslog",
    deno: { permissions: { ...NOTHING_ELSE, net } },
  });
}

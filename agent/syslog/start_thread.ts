import { openWorker } from "../workers/open_worker.ts";
import { syslogWorkerUrl } from "../workers/worker_source.ts";
import { placeOf, type SyslogSettings } from "./settings.ts";

/** Starts the syslog thread: one that was taken over could hear at this port, and reach nobody. */
export function startSyslogThread(settings: SyslogSettings): Worker {
  return openWorker(syslogWorkerUrl(), { name: "syslog", net: [placeOf(settings)] });
}

/**
 * Where the code of a session thread and of the syslog thread is. Deno loads a thread's modules under the agent's permissions: from the source tree it
 * must be allowed to read them. `deno task build` puts another module in place of this one, with the code itself in it (see
 * tests/support/build_agent.ts), so that the one file needs to read nothing but its state folder.
 */
import { fileURLToPath } from "node:url";

const OWN = new URL("./session_worker.ts", import.meta.url);
const SYSLOG = new URL("../syslog/syslog_worker.ts", import.meta.url);
const SOURCES = [new URL("../", import.meta.url), new URL("../../shared/", import.meta.url)];

export function sessionWorkerUrl(): string {
  return OWN.href;
}

export function syslogWorkerUrl(): string {
  return SYSLOG.href;
}

/** The folders that a session thread is loaded from and that this process may not read. */
export function missingReads(): string[] {
  return SOURCES.map((url) => fileURLToPath(url).replace(/\/$/, ""))
    .filter((path) => Deno.permissions.querySync({ name: "read", path }).state !== "granted");
}

/** `deno run --allow-net syslog_flood.ts PORT PER_SECOND SECONDS`: many messages of changes by UDP, then how many were sent. */
import { createSocket } from "node:dgram";

const [port = 0, perSecond = 0, seconds = 0] = Deno.args.map(Number);
const TICK_MS = 10;

const socket = createSocket("udp4");
let sent = 0;
const startedAt = performance.now();
while (performance.now() - startedAt < seconds * 1_000) {
  const due = Math.floor((performance.now() - startedAt) / 1_000 * perSecond);
  const batch: Promise<void>[] = [];
  for (; sent < due; sent++) {
    const by = `Configured from console by user${sent} on vty0`;
    const text = `<189>Nov 26 12:00:00 host-${sent % 5_000} 1: %SYS-5-CONFIG_I: ${by}`;
    batch.push(new Promise((resolve) => socket.send(text, port, "127.0.0.1", () => resolve())));
  }
  await Promise.all(batch);
  await new Promise((resolve) => setTimeout(resolve, TICK_MS));
}
socket.close();
await Deno.stdout.write(new TextEncoder().encode(`${sent}\n`));

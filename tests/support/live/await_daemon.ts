import { setTimeout as delay } from "node:timers/promises";

const PATIENCE_MILLISECONDS = 10_000;
const PAUSE_MILLISECONDS = 20;

/** A loopback port that was free a moment ago, for daemons that cannot choose one themselves. */
export function findFreePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

/** Waits until something greets at the port with an SSH banner. */
export async function waitForSsh(port: number, logFile: string): Promise<void> {
  await waitUntil(() => greetsWithSsh(port), { what: `an SSH server on port ${port}`, logFile });
}

/** Waits until the file is there. */
export async function waitForFile(path: string, logFile: string): Promise<void> {
  await waitUntil(() => Deno.stat(path).then(() => true, () => false), { what: path, logFile });
}

async function waitUntil(
  holds: () => Promise<boolean>,
  { what, logFile }: { readonly what: string; readonly logFile: string },
): Promise<void> {
  const deadline = performance.now() + PATIENCE_MILLISECONDS;
  while (!await holds()) {
    if (performance.now() > deadline) {
      const log = await Deno.readTextFile(logFile).catch(() => "no log");
      throw new Error(`Cannot wait any longer for ${what}: ${log.slice(-2_000)}`);
    }
    await delay(PAUSE_MILLISECONDS);
  }
}

async function greetsWithSsh(port: number): Promise<boolean> {
  try {
    using connection = await Deno.connect({ hostname: "127.0.0.1", port });
    const buffer = new Uint8Array(64);
    const length = await connection.read(buffer) ?? 0;
    return new TextDecoder().decode(buffer.subarray(0, length)).startsWith("SSH-2.0-");
  } catch {
    return false;
  }
}

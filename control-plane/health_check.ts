/** For a container's health check: exit code 0 when the control plane of this very environment says that it is ready. */
import { type Config, readConfig } from "./config.ts";

const PATIENCE_MS = 4_000;

/** Where the control plane answers from its own machine, whatever it is called outside. */
export function readinessUrl({ hostname, port, tls }: Config): URL {
  const everywhere: Readonly<Record<string, string>> = { "0.0.0.0": "127.0.0.1", "::": "::1" };
  const host = everywhere[hostname] ?? hostname;
  const written = host.includes(":") ? `[${host}]` : host;
  return new URL(`${tls ? "https" : "http"}://${written}:${port}/readyz`);
}

async function check(): Promise<number> {
  const url = readinessUrl(readConfig(Deno.env.toObject()));
  const response = await fetch(url, { signal: AbortSignal.timeout(PATIENCE_MS) });
  const said = await response.text();
  if (!response.ok) complain(`${url} answers ${response.status}: ${said}`);
  return response.ok ? 0 : 1;
}

function complain(text: string): void {
  Deno.stderr.writeSync(new TextEncoder().encode(`${text}\n`));
}

if (import.meta.main) {
  const code = await check().catch((error: unknown) => {
    complain(error instanceof Error ? error.message : String(error));
    return 1;
  });
  Deno.exit(code);
}

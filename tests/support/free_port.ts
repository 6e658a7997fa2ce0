/** Below the ports that systems hand out themselves (RFC 6335 begins at 49152, Linux at 32768): no connection takes it meanwhile. */
const [FROM, TO] = [20_000, 32_000] as const;

/** A port of this machine that is free now, and stays it unless somebody asks for it by its number. */
export function freePort(): number {
  for (;;) {
    const port = FROM + Math.floor(Math.random() * (TO - FROM));
    try {
      Deno.listen({ hostname: "127.0.0.1", port }).close();
      return port;
    } catch (error) {
      if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    }
  }
}

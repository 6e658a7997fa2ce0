import type { Send } from "./control_plane.ts";

/**
 * Carries requests to the control plane, each over HTTP/1.1: with HTTP/2 all of them share one connection, and one
 * that died in silence would hold up every request for good. A redirect is never followed (see `call`), so that no
 * answer sends the agent to another address.
 */
export function makeSend(client = Deno.createHttpClient({ http2: false })): Send {
  return (request) => fetch(request, { client });
}

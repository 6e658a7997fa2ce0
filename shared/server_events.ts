import type { z } from "zod";
import type { AnyEndpoint } from "./endpoint.ts";

/**
 * One event of a stream; `id` names the place in the stream, to go on from with `Last-Event-ID`. The first is `hello`: all
 * that happens from now on will come; or `reset`, also later: events were missed, read anew what you show.
 */
export type ServerEvent<Data = unknown> =
  | { readonly id: string; readonly event: "hello" | "reset" }
  | { readonly id: string; readonly event: "change"; readonly data: Data };

/** No event of ours comes near: who sends more wants the caller's memory. */
const MOST_CHARACTERS = 1_048_576;

/**
 * Reads a stream of server-sent events (WHATWG HTML, section 9.2). Comments are passed over, and so are events whose data
 * is not of the endpoint's schema: a newer control plane may know more of them. Ends with the stream; leaving the loop
 * ends the stream.
 */
export async function* readServerEvents<Data>(
  { body }: Pick<Response, "body">,
  { reply }: Pick<AnyEndpoint, "reply">,
): AsyncGenerator<ServerEvent<Data>> {
  let fields = new Map<string, string>();
  let id = "";
  for await (const line of linesOf(body)) {
    if (line !== "") {
      const [, name = "", value = ""] = /^([^:]*)(?:: ?(.*))?$/.exec(line) ?? [];
      if (name === "id") id = value;
      const earlier = fields.get(name);
      fields.set(name, name === "data" && earlier !== undefined ? `${earlier}\n${value}` : value);
      continue;
    }
    const event = fields.get("event");
    const data = dataOf(fields.get("data"), reply);
    fields = new Map();
    if (event === "hello" || event === "reset") yield { id, event };
    else if (data !== undefined) yield { id, event: "change", data: data as Data };
  }
}

function dataOf(text: string | undefined, schema: z.ZodType | undefined): unknown {
  if (text === undefined) return undefined;
  try {
    return schema?.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

/** Reads the body itself, so that leaving the loop ends it at once: a pipe would tell it a little later. */
async function* linesOf(body: Response["body"]): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const bytes of body ?? []) {
    const lines = (rest + decoder.decode(bytes, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    if (rest.length > MOST_CHARACTERS) {
      throw new RangeError("Cannot take an event of more than 1 MB");
    }
    for (const line of lines) yield line.replace(/\r$/, "");
  }
}

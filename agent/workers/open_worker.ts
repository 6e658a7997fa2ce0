const NOTHING_ELSE = {
  read: false,
  write: false,
  env: false,
  run: false,
  ffi: false,
  sys: false,
  import: false,
} as const;

/** Starts a thread that may use the network, or the places of it that are named, and nothing else. */
export function openWorker(
  url: string,
  { name, net }: { readonly name: string; readonly net: "inherit" | readonly string[] },
): Worker {
  try {
    return start(url, name, net === "inherit" ? net : [...net]);
  } catch (error) {
    // Started with a list of its own (--allow-net=…), the agent can hand on only that very list.
    if (error instanceof Deno.errors.NotCapable) return start(url, name, "inherit");
    throw error;
  }
}

function start(url: string, name: string, net: "inherit" | string[]): Worker {
  return new Worker(url, {
    type: "module",
    name,
    deno: { permissions: { ...NOTHING_ELSE, net } },
  });
}

/** `deno task build [FILE]`: the agent as one file that runs where no package can be installed. */
import { join, relative } from "node:path";
import { build, type BuildOptions, type Plugin, stop } from "esbuild";

const ROOT = join(import.meta.dirname ?? ".", "..", "..");
const OUTPUT = Deno.args[0] ?? join(ROOT, "dist", "rookery-agent.mjs");

/** ssh2 looks for native helpers and does without them. */
const NO_NATIVE: Plugin = {
  name: "no-native",
  setup(builder) {
    builder.onResolve(
      { filter: /^cpu-features$|\.node$/ },
      ({ path }) => ({ path, namespace: "none" }),
    );
    builder.onLoad({ filter: /.*/, namespace: "none" }, () => ({
      contents: 'throw new Error("native code is not used")',
    }));
  },
};

function optionsFor(entry: string): BuildOptions {
  return {
    entryPoints: [join(ROOT, entry)],
    bundle: true,
    platform: "node",
    format: "esm",
    target: "esnext",
    alias: { "@rookery/shared": join(ROOT, "shared") },
    nodePaths: [join(ROOT, "agent/node_modules"), join(ROOT, "node_modules")],
    // What CommonJS packages require is given to them. Only Deno's own modules are left outside, wherever this file is.
    banner: {
      js: 'import{createRequire as __cr}from"node:module";' +
        'const require=__cr("file:///agent.mjs"),__dirname="/",__filename="/agent.mjs";',
    },
  };
}

/** The code of a thread, whole. */
async function codeOf(entry: string): Promise<string> {
  const { outputFiles: [file] = [] } = await build({
    ...optionsFor(entry),
    plugins: [NO_NATIVE],
    minify: true,
    write: false,
  });
  if (!file) throw new Error(`Cannot build ${entry}: no output`);
  return file.text;
}

/**
 * The code of the threads as text inside the file: a thread that starts from a blob needs no permission to read, one that
 * starts from a file needs to read that file.
 */
async function inlineWorkers(): Promise<Plugin> {
  const sessions = await codeOf("agent/workers/session_worker.ts");
  const syslog = await codeOf("agent/syslog/syslog_worker.ts");
  const contents = `const codes = ${JSON.stringify({ sessions, syslog })};
const urls = {};
const urlOf = (name) =>
  urls[name] ??= URL.createObjectURL(new Blob([codes[name]], { type: "text/javascript" }));
export const sessionWorkerUrl = () => urlOf("sessions");
export const syslogWorkerUrl = () => urlOf("syslog");
export const missingReads = () => [];`;
  return {
    name: "inline-workers",
    setup: (builder) =>
      builder.onLoad({ filter: /[/\\]worker_source\.ts$/ }, () => ({ contents, loader: "js" })),
  };
}

await build({
  ...optionsFor("agent/main.ts"),
  outfile: OUTPUT,
  plugins: [NO_NATIVE, await inlineWorkers()],
});
await stop();
const { size } = await Deno.stat(OUTPUT);
await Deno.stdout.write(
  new TextEncoder().encode(`${relative(ROOT, OUTPUT)}, ${Math.ceil(size / 1024)} KiB\n`),
);

/** `deno task build`: the agent as one file that runs where no package can be installed. */
import { join } from "node:path";
import { build, stop } from "esbuild";

const ROOT = join(import.meta.dirname ?? ".", "..", "..");
const OUTPUT = join(ROOT, "dist", "rookery-agent.mjs");

/** ssh2 looks for native helpers and does without them; what it requires from CommonJS is given to it. */
const BANNER = 'import{createRequire as __cr}from"node:module";' +
  'const require=__cr(import.meta.url),__dirname="/",__filename="/agent.mjs";';

await build({
  entryPoints: [join(ROOT, "agent/main.ts")],
  outfile: OUTPUT,
  bundle: true,
  platform: "node",
  format: "esm",
  target: "esnext",
  alias: { "@rookery/shared": join(ROOT, "shared") },
  nodePaths: [join(ROOT, "agent/node_modules"), join(ROOT, "node_modules")],
  banner: { js: BANNER },
  plugins: [{
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
  }],
});
await stop();
const { size } = await Deno.stat(OUTPUT);
await Deno.stdout.write(
  new TextEncoder().encode(`dist/rookery-agent.mjs, ${Math.ceil(size / 1024)} KiB\n`),
);

/**
 * The import rules of the tree (README, "Who may import whom") as a lint plugin: the import maps of the
 * members stop foreign npm packages, this stops relative and aliased escapes between our own folders.
 */

/** Which of our own top folders each top folder may import. */
const ALLOWED: Record<string, readonly string[]> = {
  shared: [],
  agent: ["shared"],
  web: ["shared"],
  "control-plane": ["shared"],
  tests: ["shared", "agent", "control-plane"],
};

/** Layers inside a top folder: a folder may import only what stands to its right, and itself. */
const AGENT_LAYERS = ["jobs", "session", "ssh"];
const TECHNICAL = ["http", "database"];

interface Place {
  readonly top: string;
  readonly folder: string;
  readonly file: string;
}

/** Splits a repository path such as `control-plane/devices/store.ts` into top, folder and file. */
function placeOf(path: string): Place | undefined {
  const match = /(?:^|\/)(shared|agent|control-plane|tests)\/(.+)$/.exec(path);
  if (!match?.[1] || !match[2]) return undefined;
  const parts = match[2].split("/");
  if (match[1] === "control-plane" && parts[0] === "web") {
    return { top: "web", folder: parts[1] ?? "", file: parts.at(-1) ?? "" };
  }
  const folder = parts.length > 1 ? parts[0] ?? "" : "";
  return { top: match[1], folder, file: parts.at(-1) ?? "" };
}

/** Resolves an import specifier to a repository path, or undefined when it names a package. */
function resolve(from: string, specifier: string): string | undefined {
  if (specifier.startsWith("@rookery/shared/")) {
    return `shared/${specifier.slice("@rookery/shared/".length)}`;
  }
  if (!specifier.startsWith(".")) return undefined;
  return new URL(specifier, `file://${from.startsWith("/") ? "" : "/"}${from}`).pathname;
}

/** Says why `from` must not import `to`, or undefined when it may. */
export function whyForbidden(from: string, to: string): string | undefined {
  const source = placeOf(from);
  const target = placeOf(to);
  if (!source || !target) return undefined;
  if (source.top !== target.top) {
    return ALLOWED[source.top]?.includes(target.top)
      ? undefined
      : `${source.top} must not import ${target.top}`;
  }
  if (source.top === "agent") return whyAgentForbidden(source, target);
  if (source.top === "control-plane") return whyControlPlaneForbidden(source, target);
  return undefined;
}

function whyAgentForbidden(source: Place, target: Place): string | undefined {
  const from = AGENT_LAYERS.indexOf(source.folder);
  const to = AGENT_LAYERS.indexOf(target.folder);
  return from >= 0 && to >= 0 && to < from
    ? `agent/${source.folder} must not import agent/${target.folder}`
    : undefined;
}

function whyControlPlaneForbidden(source: Place, target: Place): string | undefined {
  if (source.folder === target.folder || source.folder === "") return undefined;
  if (TECHNICAL.includes(source.folder) && !TECHNICAL.includes(target.folder)) {
    return target.folder === ""
      ? undefined
      : `control-plane/${source.folder} must not import a feature (${target.folder})`;
  }
  return target.file.endsWith("routes.ts")
    ? `a feature may import another's store, never its routes (${target.folder})`
    : undefined;
}

const plugin: Deno.lint.Plugin = {
  name: "rookery",
  rules: {
    "import-rules": {
      create(context) {
        function look(node: Deno.lint.Node, specifier: unknown): void {
          if (typeof specifier !== "string") return;
          const to = resolve(context.filename, specifier);
          const why = to && whyForbidden(context.filename, to);
          if (why) context.report({ node, message: why });
        }
        return {
          ImportDeclaration: (node) => look(node, node.source.value),
          ExportNamedDeclaration: (node) => node.source && look(node, node.source.value),
          ExportAllDeclaration: (node) => look(node, node.source.value),
          ImportExpression(node) {
            if (node.source.type === "Literal") look(node, node.source.value);
          },
        };
      },
    },
    "no-top-level-arrow": {
      create(context) {
        return {
          "Program > VariableDeclaration > VariableDeclarator > ArrowFunctionExpression"(node) {
            context.report({ node, message: "write a top-level function with `function`" });
          },
        };
      },
    },
  },
};

export default plugin;

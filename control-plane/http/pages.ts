import { createRequire } from "node:module";
import { PROBLEMS, ProblemType } from "@rookery/shared/problem.ts";
import type { App, AppContext } from "./app_type.ts";

/** Scripts and styles only from here, nothing inline, no form that could send anything by itself. */
const PAGE_POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; " +
  "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; " +
  "frame-ancestors 'none'";

const PAGES = new URL("./pages/", import.meta.url);
const resolve = createRequire(import.meta.url).resolve;

/** Path → file and content type; the documentation's own program comes from its package, not from a CDN. */
const FILES: readonly (readonly [path: string, file: URL, type: string])[] = [
  ["/setup", new URL("setup.html", PAGES), "text/html; charset=utf-8"],
  ["/setup/setup.js", new URL("setup.js", PAGES), "text/javascript; charset=utf-8"],
  ["/login/oidc", new URL("oidc.html", PAGES), "text/html; charset=utf-8"],
  ["/login/oidc.js", new URL("oidc.js", PAGES), "text/javascript; charset=utf-8"],
  ["/setup/page.css", new URL("page.css", PAGES), "text/css; charset=utf-8"],
  ["/api/docs", new URL("docs.html", PAGES), "text/html; charset=utf-8"],
  ["/api/docs/docs.js", new URL("docs.js", PAGES), "text/javascript; charset=utf-8"],
  [
    "/api/docs/swagger-ui-bundle.js",
    new URL(`file://${resolve("swagger-ui-dist/swagger-ui-bundle.js")}`),
    "text/javascript; charset=utf-8",
  ],
  [
    "/api/docs/swagger-ui.css",
    new URL(`file://${resolve("swagger-ui-dist/swagger-ui.css")}`),
    "text/css; charset=utf-8",
  ],
];

/** The few pages that the control plane serves without the web app: set-up, sign-in, API documentation, problem types. */
export function mountPages(app: App): void {
  for (const [path, file, type] of FILES) {
    app.get(path, async (context) => pageReply(context, await Deno.readFile(file), type));
  }
  // Until the web app takes this address, its visitors find what there is to see.
  app.get("/", (context) => context.redirect("/api/docs"));
  app.get("/problems/:type", (context) => {
    const type = ProblemType.safeParse(context.req.param("type"));
    if (!type.success) return context.notFound();
    return htmlReply(context, problemPage(type.data));
  });
}

/** What a browser shows where there is no page. */
export function notFoundReply(context: AppContext): Response {
  context.status(404);
  return htmlReply(context, page("There is no such page", `<p>Check the address.</p>`));
}

function htmlReply(context: AppContext, html: string): Response {
  return pageReply(context, new TextEncoder().encode(html), "text/html; charset=utf-8");
}

function pageReply(
  context: AppContext,
  bytes: Uint8Array<ArrayBuffer>,
  type: string,
): Response {
  context.header("Content-Type", type);
  context.header("Content-Security-Policy", PAGE_POLICY);
  context.header("Cache-Control", "no-cache");
  return context.body(bytes);
}

function problemPage(type: ProblemType): string {
  const [status, title, remedy] = PROBLEMS[type];
  const kind = `<p>HTTP status ${status}, type <code>/problems/${type}</code>.</p>`;
  return page(title, `<p>${remedy}</p>\n${kind}`);
}

/** All text is our own; nothing of the request is repeated. */
function page(title: string, body: string): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title} · Rookery</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/setup/page.css">
</head>
<body>
<main>
<h1>${title}</h1>
${body}
<p><a href="/api/docs">API documentation</a></p>
</main>
</body>
</html>
`;
}

import assert from "node:assert/strict";
import { type Browser, chromium, type Page } from "playwright-core";
import { issueSetupLink } from "../../control-plane/setup/setup_link.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { skipUnless } from "../support/skip.ts";

const CHROMIUM = "/usr/bin/chromium";
const test = skipUnless(isFile(CHROMIUM), "Debian's chromium is not installed");

const database = testDatabase();
const server = Deno.serve(
  { hostname: "127.0.0.1", port: 0, onListen: () => {} },
  (request) => plane.app.fetch(request, { remoteAddress: "127.0.0.1" }),
);
const publicUrl = `http://127.0.0.1:${server.addr.port}`;
const plane = testControlPlane(database, { publicUrl });
let browser: Browser | undefined;

Deno.test.beforeAll(async () => {
  if (!isFile(CHROMIUM)) return;
  browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
});
Deno.test.afterAll(async () => {
  await browser?.close();
  await server.shutdown();
});

test("the set-up page leads from the link to a session, with errors at their fields", async () => {
  const link = await issueSetupLink(database.db, publicUrl);
  await withPage(async (page) => {
    await page.goto(link?.href ?? "");
    assert.equal(new URL(page.url()).hash, "");
    await page.getByLabel("User name").fill("admin");
    await page.getByLabel("Password", { exact: true }).fill("short");
    await page.getByRole("button", { name: "Create administrator" }).click();
    await page.getByText("Use at least 12 characters.").waitFor();
    assert.equal(await page.locator(":focus").getAttribute("id"), "password");
    await page.getByLabel("Password", { exact: true }).fill("correct horse battery");
    await page.getByLabel("Password again").fill("correct horse batterz");
    await page.keyboard.press("Enter");
    await page.getByText("The passwords differ.").waitFor();
    await page.getByLabel("Password again").fill("correct horse battery");
    await page.getByLabel("User name").fill("not a name");
    await page.keyboard.press("Enter");
    await page.getByText(/must be letters, digits/).waitFor();
    await page.getByLabel("User name").fill("admin");
    await page.keyboard.press("Enter");
    await page.getByText("Done: you are logged in.").waitFor();
    const me = await page.evaluate(async () => (await (await fetch("/api/v1/me")).json()).user);
    assert.equal(me.username, "admin");
    assert.equal(await page.evaluate("document.cookie"), "");
  });
});

test("the set-up page says why a used link, or none, leads nowhere", async () => {
  await withPage(async (page) => {
    await page.goto(`${publicUrl}/setup`);
    await page.getByText(/no set-up link in it/).waitFor();
    await page.goto(`${publicUrl}/problems/not-found`);
    await page.goto(`${publicUrl}/setup#rku_${"A".repeat(43)}`);
    await page.getByLabel("User name").fill("second");
    await page.getByLabel("Password", { exact: true }).fill("correct horse battery");
    await page.getByLabel("Password again").fill("correct horse battery");
    await page.keyboard.press("Enter");
    await page.getByText(/has an administrator already.*\/api\/docs/).waitFor();
    await page.getByRole("link", { name: "API documentation" }).waitFor();
  });
});

test("a link that is opened where the set-up page stands already is taken, and leaves no secret behind", async () => {
  await withPage(async (page) => {
    await page.goto(`${publicUrl}/setup`);
    await page.getByText(/no set-up link in it/).waitFor();
    await page.goto(`${publicUrl}/setup#rkr_${"A".repeat(43)}`);
    await page.getByRole("heading", { name: "Set a new password" }).waitFor();
    assert.equal(page.url(), `${publicUrl}/setup`);
    await page.goto(`${publicUrl}/setup#rku_${"A".repeat(43)}`);
    await page.getByLabel("User name").waitFor();
    assert.equal(page.url(), `${publicUrl}/setup`);
  });
});

test("an error of the whole form stands apart, and a refused field has a border that shows it", async () => {
  await withPage(async (page) => {
    await page.goto(`${publicUrl}/setup#rkr_${"A".repeat(43)}`);
    const password = page.getByLabel("Password", { exact: true });
    const border = () => page.evaluate("getComputedStyle(password).borderTopColor");
    const usual = await border();
    await password.fill("short");
    await page.keyboard.press("Enter");
    await page.getByText("Use at least 12 characters.").waitFor();
    assert.notEqual(await border(), usual);
    await password.fill("correct horse battery");
    await page.getByLabel("Password again").fill("correct horse battery");
    await page.keyboard.press("Enter");
    const error = page.getByRole("alert");
    await error.waitFor();
    assert.match(await error.textContent() ?? "", /unknown, used up or over/);
    const [field, alert] = [
      await page.getByLabel("Password again").boundingBox(),
      await error.boundingBox(),
    ];
    assert.ok(field && alert && alert.y - (field.y + field.height) >= 16);
    assert.equal(await border(), usual);
  });
});

test("the API documentation shows every noun and asks nobody else", async () => {
  await withPage(async (page) => {
    await page.goto(`${publicUrl}/api/docs`);
    for (const noun of ["devices", "credentials", "jobs", "agent protocol"]) {
      await page.locator(".opblock-tag", { hasText: noun }).first().waitFor();
    }
  });
});

/** Runs in a page of its own; fails on anything in the console, on a blocked load, and on a request elsewhere. */
async function withPage(run: (page: Page) => Promise<void>): Promise<void> {
  const context = await browser?.newContext();
  assert.ok(context);
  try {
    const page = await context.newPage();
    const faults: string[] = [];
    page.on("pageerror", (error) => faults.push(String(error)));
    page.on("console", (line) => {
      // A refused request is the subject of a test; the browser reports each as an error.
      const refused = /status of 4\d\d/.test(line.text());
      if (line.type() === "error" && !refused) faults.push(line.text());
    });
    page.on("request", (request) => {
      const { origin, protocol } = new URL(request.url());
      if (origin !== publicUrl && protocol !== "data:") faults.push(request.url());
    });
    await run(page);
    assert.deepEqual(faults, []);
  } finally {
    await context.close();
  }
}

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

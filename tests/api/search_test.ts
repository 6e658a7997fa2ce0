/** What is found in configurations, by whom, and what never is. */
import assert from "node:assert/strict";
import { sql } from "kysely";
import { createDevice } from "@rookery/shared/api/devices.ts";
import { searchConfigurations, type SearchReply } from "@rookery/shared/api/search.ts";
import { SearchPattern } from "@rookery/shared/api/search_pattern.ts";
import { call } from "@rookery/shared/client.ts";
import type { DeviceId, SiteId } from "@rookery/shared/ids.ts";
import { type FieldError, ProblemError } from "@rookery/shared/problem.ts";
import { createApp } from "../../control-plane/app.ts";
import { newId } from "../../control-plane/database/new_id.ts";
import { forgetLines, indexTexts, renewOldTexts } from "../../control-plane/search/index_texts.ts";
import {
  frrConfiguration,
  makeReportingDevice,
  report,
  type ReportingDevice,
} from "../support/backup_report.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";
import { makePerson } from "../support/people.ts";

const database = testDatabase();
const plane = testControlPlane(database);

type Query = Parameters<typeof search>[0];

async function search(
  query: {
    readonly [K in keyof typeof searchConfigurations.query.shape]?: unknown;
  },
): Promise<SearchReply> {
  const admin = await plane.administrator();
  return await admin.call(searchConfigurations, { query: query as { text: string } });
}

/** A device whose configuration has this line. */
async function deviceWith(line: string, siteId?: SiteId): Promise<ReportingDevice> {
  const device = await makeReportingDevice(database.db, siteId ? { siteId } : {});
  await backUp(device, line);
  return device;
}

async function backUp(device: ReportingDevice, line: string): Promise<void> {
  const text = frrConfiguration().replace("interface eth3\n", `interface eth3\n ${line}\n`);
  assert.ok((await report(plane.services, device, text)).ok);
}

async function indexAll(): Promise<void> {
  while (await indexTexts(plane.services) > 0);
}

/** Of what was found: which devices, and which lines were meant. */
function told({ items }: SearchReply) {
  return items.map(({ deviceId, lines }) => [
    deviceId,
    lines.filter(({ hit }) => hit).map(({ text }) => text.trim()),
  ]);
}

Deno.test("searchConfigurations finds a text or a pattern with the lines around, indexed or not yet", async () => {
  const { deviceId } = await deviceWith("description 100%_of 10.9.8.7 Main");
  const found = [deviceId, ["description 100%_of 10.9.8.7 Main"]];
  const asked: [Query, boolean][] = [
    [{ text: "100%_of" }, true],
    [{ text: "10__of" }, false],
    [{ text: " 10.9.8.7 " }, true],
    [{ text: "10.9.8.7 main" }, false],
    [{ text: "10.9.8.7 main", ignoreCase: "true" }, true],
    [{ pattern: String.raw`^ description .*10\.9\.8\.\d Main$` }, true],
    [{ pattern: String.raw`10\.9\.8\.\d main$` }, false],
    [{ pattern: String.raw`10\.9\.8\.\d main$`, ignoreCase: "true" }, true],
    [{ pattern: String.raw`Main\s+description` }, false],
  ];
  const compare = async (when: string) => {
    for (const [query, isFound] of asked) {
      const reply = await search({ deviceId, ...query });
      assert.deepEqual(told(reply), isFound ? [found] : [], `${when}: ${JSON.stringify(query)}`);
      assert.deepEqual([reply.partial, reply.nextCursor], [false, null]);
    }
  };
  await compare("waiting");
  await indexAll();
  await compare("indexed");
  const { items: [item] } = await search({ text: "100%_of", context: 1 });
  const [before, hit, after, ...more] = item?.lines ?? [];
  assert.deepEqual([before?.text, before?.hit], ["interface eth3", false]);
  assert.deepEqual([after?.text, after?.hit, more.length], [" description uplink 3", false, 0]);
  assert.equal(hit?.number, (before?.number ?? 0) + 1);
  assert.deepEqual([item?.hits, item?.capture, item?.platform], [1, "running", "frr"]);
});

Deno.test("searchConfigurations counts all lines that were found and shows the first twenty", async () => {
  const device = await makeReportingDevice(database.db);
  await report(plane.services, device, frrConfiguration({ interfaces: 30 }));
  const { items: [item] } = await search({ deviceId: device.deviceId, text: "description uplink" });
  assert.equal(item?.hits, 30);
  assert.equal(item?.lines.filter(({ hit }) => hit).length, 20);
});

Deno.test("searchConfigurations finds no secret and shows none, also where older rules knew of none", async () => {
  const { deviceId } = await deviceWith("description secretive");
  assert.deepEqual(told(await search({ deviceId, text: "first-password" })), []);
  const masked = told(await search({ deviceId, pattern: "^password " }));
  assert.match(String(masked[0]?.[1]), /^password <secret:[a-z2-7]{5}>$/);
  await indexAll();
  // What a release stored whose rules did not know of this secret.
  await sql`update current_texts set redacted_by = 'older',
    text = regexp_replace(text, '<secret:.....>', 'first-password') where device_id = ${deviceId}`
    .execute(database.db);
  await renewOldTexts(database.db);
  for (const text of ["first-password", "secretive"]) {
    const held = await search({ deviceId, text });
    assert.deepEqual([held.items, held.partial], [[], true]);
    assert.match(held.reason ?? "", /masked anew/);
  }
  await indexAll();
  assert.deepEqual(told(await search({ deviceId, text: "first-password" })), []);
  assert.deepEqual(told(await search({ deviceId, pattern: "^password " })), masked);
  assert.equal((await search({ deviceId, text: "secretive" })).partial, false);
});

Deno.test("searchConfigurations shows somebody of one site nothing of another, of now and of before", async () => {
  const near = await deviceWith("description shared-word near");
  const far = await deviceWith("description shared-word far");
  const selector = { siteIds: [near.siteId] };
  const actions = ["backups:read" as const];
  const person = await makePerson(plane, { name: "searcher", actions, selector });
  for (const indexed of [false, true]) {
    if (indexed) await indexAll();
    for (const revisions of ["current", "all"] as const) {
      const query = { text: "shared-word", revisions };
      assert.equal((await search(query)).items.length, 2);
      const seen = await person.call(searchConfigurations, { query });
      assert.deepEqual(told(seen), [[near.deviceId, ["description shared-word near"]]]);
      for (const filter of [{ siteId: far.siteId }, { deviceId: far.deviceId }]) {
        const none = await person.call(searchConfigurations, { query: { ...query, ...filter } });
        assert.deepEqual(none, { items: [], nextCursor: null, partial: false, reason: null });
      }
    }
  }
});

Deno.test("searchConfigurations pages through what filters leave, each configuration once", async () => {
  const siteId = newId<SiteId>();
  const devices = [];
  for (let n = 0; n < 5; n++) devices.push(await deviceWith(`description paged ${n}`, siteId));
  const ids = devices.map(({ deviceId }) => deviceId);
  for (const indexed of [false, true]) {
    if (indexed) await indexAll();
    assert.deepEqual(await pagesOf({ text: "paged", siteId }), ids);
    assert.deepEqual(await pagesOf({ text: "paged", siteId, revisions: "all" }), ids.toReversed());
  }
  const [first] = ids;
  await database.sql`update devices set platform = 'linux' where id = ${first ?? ""}`;
  await database.sql`update devices set archived_at = now() where id = ${ids[1] ?? ""}`;
  assert.deepEqual(await pagesOf({ text: "paged", siteId, platform: "linux" }), [first]);
  assert.deepEqual(await pagesOf({ text: "paged", siteId, archived: "true" }), [ids[1]]);
  assert.deepEqual(await pagesOf({ text: "paged", siteId }), [first, ...ids.slice(2)]);
  assert.deepEqual(await pagesOf({ text: "paged", siteId, capture: "startup" }), []);
  const admin = await plane.administrator();
  const tagged = { siteId, name: "tagged", host: "192.0.2.9", platform: "frr", tags: ["Core"] };
  const { id: deviceId } = await admin.call(createDevice, { body: tagged });
  await backUp({ siteId, deviceId }, "description paged and tagged");
  assert.deepEqual(await pagesOf({ text: "paged", tags: "core and not lab" }), [deviceId]);
});

async function pagesOf(query: Query): Promise<DeviceId[]> {
  const seen: DeviceId[] = [];
  let cursor: string | null | undefined;
  do {
    const page = await search({ ...query, limit: 2, ...cursor && { cursor } });
    assert.ok(page.items.length <= 2);
    seen.push(...page.items.map(({ deviceId }) => deviceId));
    cursor = page.nextCursor;
  } while (cursor);
  return seen;
}

Deno.test("searchConfigurations looks through what devices had before only when it is asked to", async () => {
  const device = await deviceWith("description yesterday");
  await backUp(device, "description today");
  const { deviceId } = device;
  assert.deepEqual(told(await search({ deviceId, text: "yesterday" })), []);
  const { items: [item], partial } = await search({
    deviceId,
    text: "yesterday",
    revisions: "all",
  });
  assert.deepEqual([item?.number, item?.hits, partial], [1, 1, false]);
  const secret = await search({ deviceId, text: "first-password", revisions: "all" });
  assert.deepEqual(secret.items, []);
});

Deno.test("searchConfigurations refuses a pattern by the position of what it does not take", async () => {
  const refused = [
    [String.raw`(a)\1`, "a back-reference at character 4"],
    [String.raw`\k<name>`, "a back-reference at character 1"],
    ["a(?=b)", "look-ahead at character 2"],
    ["a(?!b)", "look-ahead at character 2"],
    ["(?<=a)b", "look-behind at character 1"],
    ["[]x)](?<!a)b", "look-behind at character 6"],
    ["(?i)a", "an embedded option or a named group at character 1"],
    ["***=a", "a director (***) at character 1"],
    ["(a", "is no regular expression: parentheses () not balanced"],
    ["a{2,1}", "is no regular expression: invalid repetition count(s)"],
    ["((x{1,250}){2}y{1,20}){1,30}", "so much repetition at character 23"],
  ] as const;
  for (const [pattern, detail] of refused) {
    const error = await refusalOf(search({ pattern }));
    assert.equal(error.pointer, "?pattern");
    assert.ok(error.detail.startsWith(detail), `${pattern}: ${error.detail}`);
  }
  for (
    const pattern of [String.raw`\\1`, String.raw`[(?=\]]x`, String.raw`\(?=`, "(?:a|b{2,250})+$"]
  ) {
    assert.ok(SearchPattern.safeParse(pattern).success, pattern);
  }
  for (const query of [{}, { text: "a", pattern: "b" }, { text: "a\nb" }, { text: "" }]) {
    const error = await refusalOf(search(query));
    assert.equal(error.pointer, "?text");
  }
});

Deno.test("searchConfigurations gives what it has when its time is over, and says so", async () => {
  await deviceWith("description late");
  const app = createApp({ ...plane.services, searchMs: 200 } as typeof plane.services);
  const { cookie } = await plane.administrator();
  const headers = { cookie, origin: plane.publicUrl };
  const send = (request: Request) => app.fetch(request, { remoteAddress: "192.0.2.10" });
  const ask = (revisions: "current" | "all") =>
    call(send, plane.publicUrl, searchConfigurations, {
      query: { text: "late", revisions },
    }, { headers });
  const found = await search({ text: "late" });
  assert.deepEqual([found.items.length, found.partial], [1, false]);
  await database.sql.begin(async (tx) => {
    // Whoever reads them waits for longer than there is time.
    await tx`lock table search_lines, revisions in access exclusive mode`;
    for (const revisions of ["current", "all"] as const) {
      const { items, partial, reason } = await ask(revisions);
      assert.deepEqual([items, partial], [[], true]);
      assert.match(reason ?? "", /too long/);
    }
  });
  assert.deepEqual(await search({ text: "late" }), found);
});

Deno.test("forgetLines() takes only lines away that no current text has", async () => {
  const device = await deviceWith("description soon-gone");
  await indexAll();
  await backUp(device, "description still-here");
  await indexAll();
  const left = async () =>
    (await database.sql<{ line: string }[]>`
      select line from search_lines where line ~ 'soon-gone|still-here'`).map(({ line }) => line);
  assert.equal((await left()).length, 2);
  // Each run looks at a share that begins somewhere.
  for (let runs = 0; runs < 200 && (await left()).length > 1; runs++) {
    await forgetLines(database.db);
  }
  assert.deepEqual(await left(), [" description still-here"]);
  const { deviceId } = device;
  assert.equal((await search({ deviceId, text: "still-here" })).items.length, 1);
});

/** The one field that is refused. */
async function refusalOf(asked: Promise<unknown>): Promise<FieldError> {
  const error = await asked.then(() => undefined, (error: unknown) => error);
  assert.ok(error instanceof ProblemError && error.type === "validation");
  const [field, ...others] = error.errors;
  assert.ok(field && others.length === 0);
  return field;
}

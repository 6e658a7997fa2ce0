import assert from "node:assert/strict";
import fc from "fast-check";
import { sql } from "kysely";
import { claimLeases, drainAgent, sendHeartbeat } from "@rookery/shared/api/agent_protocol.ts";
import { ENDPOINTS } from "@rookery/shared/api/mod.ts";
import { PROBLEM_HEADER } from "@rookery/shared/client.ts";
import type { AnyEndpoint } from "@rookery/shared/endpoint.ts";
import type { ClaimId } from "@rookery/shared/ids.ts";
import { Problem, PROBLEMS, ProblemType } from "@rookery/shared/problem.ts";
import { makeProof } from "../../agent/dpop.ts";
import { bootByHand, enrolAgent, makeSite, type ManualBoot } from "../support/agent_bench.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";

const database = testDatabase();
const plane = testControlPlane(database, { publicUrl: "https://rookery.test" });
const RUNS = 1_000;
/** Proofs by hundreds at a time: what a worst case of memory would show in. */
const GROWN_MB = 300;

const protocol = ENDPOINTS.filter(({ endpoint }) => endpoint.path.startsWith("/agent/v1/"));

/** What is sent in place of something sound. */
interface Malformed {
  readonly method: string;
  readonly id: string;
  readonly query: string;
  readonly body: string | Uint8Array<ArrayBuffer> | undefined;
  readonly contentType: string | undefined;
  readonly authorization: string | undefined;
  readonly proof: string | undefined;
  readonly extra: string | undefined;
}

const junkText = fc.oneof(
  fc.string({ unit: "binary", maxLength: 60 }),
  fc.constantFrom(
    "",
    "\0",
    "a\ud800",
    "\u202e",
    "🦜",
    "null",
    "../..",
    "%00",
    "'; drop table x",
    "{{7*7}}",
  ),
  fc.string({ maxLength: 20 }).map((text) => text.repeat(500)),
);
const junkNumber = fc.oneof(
  fc.double(),
  fc.constantFrom(-1, 0, 1e308, -1e308, 5e-324, 2 ** 53, -(2 ** 53), 2 ** 31, 2 ** 63, 0.1),
);
const junkValue = fc.oneof(
  junkText,
  junkNumber,
  fc.constantFrom(null, true, false, [], {}, [[]], [null], { "\0": 1 }),
  fc.uuid(),
  fc.array(junkText, { maxLength: 3 }),
);
const FIELDS = [
  ...new Set(protocol.flatMap(({ endpoint: { body } }) => fieldNames(body))),
  "__proto__",
  "constructor",
  "toString",
];
const junkObject = fc.dictionary(fc.oneof(fc.constantFrom(...FIELDS), junkText), junkValue, {
  maxKeys: 8,
}).map((object) => JSON.stringify(object));
const junkBody = fc.oneof(
  { weight: 5, arbitrary: junkObject },
  { weight: 1, arbitrary: fc.json() },
  { weight: 1, arbitrary: junkText },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 300 }).map((bytes) => new Uint8Array(bytes)) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(undefined, "{", "[".repeat(20_000), '{"a":'.repeat(5_000)),
  },
);
/** What a header can carry: the others never leave their sender. */
const headerText = fc.oneof(
  fc.string({ unit: fc.constantFrom(..."aZ09.,:;=\"'\\/ -_éÿ\t"), maxLength: 60 }),
  fc.constantFrom(
    "",
    "DPoP",
    "DPoP ",
    "DPoP e30.e30.AA",
    "Bearer x",
    "e30.e30.AA",
    "..",
    "a.b.c.d.e",
  ),
  fc.string({ unit: fc.constantFrom(..."abc."), maxLength: 10 }).map((text) => text.repeat(800)),
);
const optionalHeader = fc.option(headerText, { nil: undefined });

const malformed: fc.Arbitrary<Malformed> = fc.record({
  method: fc.oneof(
    { weight: 8, arbitrary: fc.constant("") },
    {
      weight: 1,
      arbitrary: fc.constantFrom(
        "GET",
        "POST",
        "PUT",
        "PATCH",
        "DELETE",
        "HEAD",
        "OPTIONS",
        "BREW",
      ),
    },
  ),
  id: fc.oneof(
    fc.uuid(),
    fc.constantFrom("x", "%00", "%ff", "..", "0".repeat(64), "%F0%9F%A6%9C", "-"),
  ),
  query: fc.oneof(
    { weight: 4, arbitrary: fc.constant("") },
    {
      weight: 1,
      arbitrary: fc.constantFrom("?", "?a=1&a=2", "?%", "?__proto__[x]=1", `?${"q".repeat(3_000)}`),
    },
  ),
  body: junkBody,
  contentType: fc.oneof(
    { weight: 5, arbitrary: fc.constantFrom("application/json", "application/octet-stream") },
    { weight: 1, arbitrary: optionalHeader },
    {
      weight: 1,
      arbitrary: fc.constantFrom(
        "text/plain",
        "application/json; charset=utf-16",
        "multipart/form-data",
        "application/x-www-form-urlencoded",
      ),
    },
  ),
  authorization: optionalHeader,
  proof: optionalHeader,
  extra: optionalHeader,
});

function fieldNames(schema: unknown): string[] {
  const shape = (schema as { shape?: Record<string, unknown> } | undefined)?.shape ?? {};
  return Object.keys(shape);
}

/** Makes the credentials of a request that are sound, of an agent with a session. */
type Credentials = (method: string, url: string) => Promise<Record<string, string>>;

function credentialsOf(boot: ManualBoot, publicJwk: Parameters<typeof makeProof>[0]["publicJwk"]) {
  let nonce = "";
  return async (method: string, url: string): Promise<Record<string, string>> => {
    nonce ||=
      (await plane.fetch("/agent/v1/enroll", { method: "POST" })).headers.get("dpop-nonce") ?? "";
    const { signal } = new AbortController();
    const { accessToken } = await boot.controlPlane.session({ signal });
    const key = { privateKey: boot.signKey, publicJwk };
    // A session is opened by a proof alone.
    const bound = url.endsWith("/session") ? {} : { accessToken };
    const dpop = await makeProof(key, { method, url, nonce, ...bound });
    return { dpop, authorization: `DPoP ${accessToken}` };
  };
}

async function requestOf(
  endpoint: AnyEndpoint,
  junk: Malformed,
  credentials: Credentials | undefined,
): Promise<Request | undefined> {
  const method = junk.method || endpoint.method;
  const path = endpoint.path.replaceAll(/:\w+/g, () => junk.id);
  const url = new URL(path, plane.publicUrl).href;
  const sound = await credentials?.(method, url) ?? {};
  const hasBody = method !== "GET" && method !== "HEAD" && junk.body !== undefined;
  try {
    const headers = new Headers();
    const given = {
      "content-type": junk.contentType,
      authorization: junk.authorization,
      dpop: junk.proof,
      "x-forwarded-for": junk.extra,
      "content-encoding": junk.extra,
      ...sound,
    };
    for (const [name, value] of Object.entries(given)) {
      if (value !== undefined) headers.set(name, value);
    }
    return new Request(url + junk.query, {
      method,
      headers,
      ...(hasBody ? { body: junk.body } : {}),
    });
  } catch {
    // No client can send it.
    return undefined;
  }
}

/** Chance may make a whole request: nothing is wrong with that one. */
function isSound(endpoint: AnyEndpoint, { method, body }: Malformed): boolean {
  if (method && method !== endpoint.method || typeof body !== "string") return false;
  try {
    return endpoint.body?.safeParse(JSON.parse(body)).success ?? false;
  } catch {
    return false;
  }
}

/** Nothing but refusals of the closed table, in full. */
async function assertRefused(reply: Response, isHead: boolean): Promise<void> {
  const text = await reply.text();
  assert.ok(reply.status >= 400 && reply.status < 500, `${reply.status} ${text.slice(0, 500)}`);
  const type = ProblemType.parse(reply.headers.get(PROBLEM_HEADER));
  assert.equal(PROBLEMS[type][0], reply.status);
  if (isHead) return;
  const problem = Problem.parse(JSON.parse(text));
  assert.deepEqual([problem.type, problem.status], [`/problems/${type}`, reply.status]);
  assert.equal(reply.headers.get("content-type"), "application/problem+json");
}

/** How many rows each table has, and what the only agent and its session look like. */
async function snapshot(): Promise<unknown> {
  const { rows: tables } = await sql<{ name: string }>`
    select c.oid::regclass::text as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'public' and c.relkind in ('r', 'p') and not c.relispartition
    order by 1`.execute(database.db);
  const counts: Record<string, unknown> = {};
  for (const { name } of tables) {
    const { rows } = await sql<{ digest: string }>`
      select md5(coalesce(string_agg(t::text, '|' order by t::text), '')) as digest
      from ${sql.raw(name)} t`.execute(database.db);
    counts[name] = rows[0]?.digest;
  }
  return counts;
}

/** Of this file alone: others run beside it, in threads of the same process. */
function heldBytes(): number {
  const { heapUsed, external } = Deno.memoryUsage();
  return heapUsed + external;
}

/** Sent as they are these are no malformed requests: no field of theirs is left to be wrong. */
const SOUND_WITHOUT_BODY = ["jwks"];

async function fuzz(credentials: Credentials | undefined): Promise<void> {
  for (const { name, endpoint } of protocol) {
    if (SOUND_WITHOUT_BODY.some((end) => endpoint.path.endsWith(end))) continue;
    const property = fc.asyncProperty(malformed, async (junk) => {
      const request = await requestOf(endpoint, junk, credentials);
      if (!request || isSound(endpoint, junk)) return;
      await assertRefused(await plane.fetch(request), request.method === "HEAD");
    });
    // The other refusals come before anybody is asked for a proof.
    const share = RUNS / 10;
    const details = await fc.check(property, {
      numRuns: credentials ? share : RUNS,
      endOnFailure: true,
    });
    assert.ok(!details.failed, `${name}: ${fc.defaultReportMessage(details)}`);
  }
}

Deno.test("malformed requests to every endpoint of agents are refused, and nothing changes", async () => {
  const siteId = await makeSite(plane);
  await using enrolled = await enrolAgent(plane, [siteId]);
  const boot = await bootByHand(plane, enrolled);
  const { bootId } = boot;
  await boot.call(sendHeartbeat, { body: { bootId, leaseIds: [] } });
  const before = await snapshot();
  const heldBefore = heldBytes();
  await fuzz(undefined);
  const { d: _, ...publicJwk } = enrolled.identity.signKey;
  await fuzz(credentialsOf(boot, publicJwk));
  const grownMb = (heldBytes() - heldBefore) / 1024 / 1024;
  assert.deepEqual(await snapshot(), before);
  assert.ok(grownMb < GROWN_MB, `memory grew by ${grownMb} MB`);
  const errors = plane.log.filter(({ level }) => level === "error");
  assert.deepEqual(errors, []);
  // The agent itself is as well as before.
  const claimId = crypto.randomUUID() as ClaimId;
  await boot.call(claimLeases, { body: { bootId, claimId, wanted: 1, waitSeconds: 0 } });
  await boot.call(drainAgent, { body: { bootId } });
});

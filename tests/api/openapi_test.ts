import assert from "node:assert/strict";
import SwaggerParser from "@apidevtools/swagger-parser";
import spectral from "@stoplight/spectral-core";
import rulesets from "@stoplight/spectral-rulesets";
import { type AnySchema } from "ajv";
import { Ajv2020 } from "ajv/dist/2020.js";
import { z } from "zod";
import { createJoinToken } from "@rookery/shared/api/agents.ts";
import { createApiToken } from "@rookery/shared/api/api_tokens.ts";
import { createCredential } from "@rookery/shared/api/credentials.ts";
import { createDevice } from "@rookery/shared/api/devices.ts";
import { createJobs } from "@rookery/shared/api/jobs.ts";
import { createSite } from "@rookery/shared/api/sites.ts";
import { ENDPOINTS } from "@rookery/shared/api/mod.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";

const plane = testControlPlane(testDatabase());

const Operation = z.object({
  operationId: z.string(),
  summary: z.string(),
  parameters: z.array(
    z.object({
      name: z.string(),
      in: z.string(),
      required: z.boolean(),
      schema: z.record(z.string(), z.unknown()),
    }),
  )
    .default([]),
  responses: z.record(z.string(), z.unknown()),
  security: z.array(z.record(z.string(), z.unknown())),
});
const Document = z.object({
  openapi: z.string(),
  paths: z.record(z.string(), z.record(z.string(), Operation)),
  components: z.object({
    securitySchemes: z.record(z.string(), z.unknown()),
    schemas: z.record(z.string(), z.unknown()),
  }),
});

Deno.test("/api/v1/openapi.json is valid OpenAPI 3.1", async () => {
  const document = await read();
  await SwaggerParser.validate(structuredClone(document) as never);
  assert.match(Document.parse(document).openapi, /^3\.1\./);
});

Deno.test("/api/v1/openapi.json breaks no rule of spectral:oas", async () => {
  const linter = new spectral.Spectral();
  linter.setRuleset({ extends: [rulesets.oas as never] });
  const broken = await linter.run(await read() as Record<string, unknown>);
  // Whom to ask is for the one who runs a Rookery to say.
  const others = broken.filter(({ code }) => code !== "info-contact");
  assert.deepEqual(others.map(({ code, path, message }) => [code, path.join("."), message]), []);
  assert.equal(broken.length, 1);
});

Deno.test("/api/v1/openapi.json documents every endpoint once, with its status and who may call it", async () => {
  const { paths, components } = Document.parse(await read());
  for (const { name, endpoint } of ENDPOINTS) {
    const path = endpoint.path.replaceAll(/:(\w+)/g, "{$1}");
    const operation = paths[path]?.[endpoint.method.toLowerCase()];
    assert.ok(operation, `${name} is not documented`);
    assert.ok(String(endpoint.status) in operation.responses, `${name} lacks its reply`);
    assert.equal(operation.security.length === 0, endpoint.access === "public", name);
    for (const scheme of operation.security.flatMap(Object.keys)) {
      assert.ok(scheme in components.securitySchemes, `${name} names the unknown ${scheme}`);
    }
  }
  const operations = Object.values(paths).flatMap((path) => Object.values(path));
  assert.equal(operations.length, ENDPOINTS.length);
  assert.equal(new Set(operations.map(({ operationId }) => operationId)).size, operations.length);
});

Deno.test("/api/v1/openapi.json declares the parameters of every path, and no others", async () => {
  const { paths } = Document.parse(await read());
  for (const [path, operations] of Object.entries(paths)) {
    const named = [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]).sort();
    for (const { operationId, parameters } of Object.values(operations)) {
      const declared = parameters.filter((parameter) =>
        parameter.in === "path" && parameter.required
      )
        .map((parameter) => parameter.name).sort();
      assert.deepEqual(declared, named, operationId);
    }
  }
});

/** Queries without which a list refuses. */
const NEEDED: Readonly<Record<string, string>> = { "/api/v1/search": "?text=a" };

Deno.test("/api/v1/openapi.json is kept by every list, empty or not, and by what is in it", async () => {
  const made = await fillInventory();
  const isOfSchema = validator(await read());
  const lists = ENDPOINTS.filter(({ endpoint }) =>
    endpoint.method === "GET" && !endpoint.path.includes(":") && endpoint.replyAs === "json" &&
    endpoint.access !== "agent"
  ).map(({ endpoint }) => ({
    template: endpoint.path,
    path: endpoint.path + (NEEDED[endpoint.path] ?? ""),
  }));
  const single = [
    { template: "/api/v1/devices/{deviceId}", path: `/api/v1/devices/${made.deviceId}` },
    { template: "/api/v1/jobs/{jobId}", path: `/api/v1/jobs/${made.jobId}` },
    { template: "/api/v1/sites", path: "/api/v1/sites?limit=1" },
    {
      template: "/api/v1/devices/{deviceId}/status",
      path: `/api/v1/devices/${made.deviceId}/status`,
    },
  ];
  assert.ok(lists.length >= 15);
  const { cookie } = await plane.administrator();
  for (const { template, path } of [...lists, ...single]) {
    const reply = await plane.fetch(path, { headers: { cookie } });
    const schema = ["paths", template, "get", "responses", "200", "content", "application/json"];
    assert.deepEqual(isOfSchema(await reply.json(), ...schema, "schema"), [], path);
  }
  const problem = await (await plane.fetch("/api/v1/me")).json();
  assert.deepEqual(isOfSchema(problem, "components", "schemas", "Problem"), []);
});

Deno.test("/api/v1/openapi.json calls no named schema null by itself, and types every parameter once", async () => {
  const document = Document.parse(await read());
  const isOfSchema = validator(await read());
  for (const name of Object.keys(document.components.schemas)) {
    assert.notDeepEqual(isOfSchema(null, "components", "schemas", name), [], name);
  }
  const parameters = Object.values(document.paths).flatMap((path) => Object.values(path))
    .flatMap(({ parameters }) => parameters);
  for (const { name, schema } of parameters) assert.ok(!Array.isArray(schema.type), name);
  const archived = parameters.find(({ name }) => name === "archived");
  assert.deepEqual(archived?.schema, { type: "boolean", default: false });
});

Deno.test("/api/v1/openapi.json has an example for every text of a pattern, and each is of its schema", async () => {
  const document = await read();
  const isOfSchema = validator(document);
  const examples: string[] = [];
  for (const { place, schema } of schemasIn(document, [])) {
    if (typeof schema.pattern !== "string") continue;
    if (schema.type !== "string" || schema.format === "uuid") continue;
    assert.ok("example" in schema, place.join("/"));
    assert.deepEqual(isOfSchema(schema.example, ...place), [], place.join("/"));
    examples.push(String(schema.example));
  }
  for (const example of ["oslo-core-1", "anna"]) assert.ok(examples.includes(example));
});

/** Every object of a document, with the steps that lead to it. */
function* schemasIn(node: unknown, place: string[]): Generator<PlacedSchema> {
  if (typeof node !== "object" || node === null) return;
  yield { place, schema: { ...node } };
  for (const [step, child] of Object.entries(node)) yield* schemasIn(child, [...place, step]);
}

interface PlacedSchema {
  readonly place: string[];
  readonly schema: Readonly<Record<string, unknown>>;
}

/** What is wrong with a value by the schema at this place of the document; nothing when it is of it. */
function validator(document: unknown) {
  const ajv = new Ajv2020({ strict: false, validateFormats: false, allErrors: true });
  ajv.addSchema(document as AnySchema, "document");
  return (value: unknown, ...place: string[]): string[] => {
    const steps = place.map((step) => step.replaceAll("~", "~0").replaceAll("/", "~1"));
    const $ref = `document#/${steps.map(encodeURIComponent).join("/")}`;
    const validate = ajv.compile({ $ref });
    if (validate(value)) return [];
    return (validate.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message}`);
  };
}

/** A device without a credential, its job, a join token, and what belongs to them. */
async function fillInventory() {
  const admin = await plane.administrator();
  const { id: siteId } = await admin.call(createSite, { body: { name: "documented" } });
  await admin.call(createSite, { body: { name: "documented too" } });
  const device = { siteId, name: "documented", host: "192.0.2.1", platform: "frr" };
  const { id: deviceId } = await admin.call(createDevice, { body: device });
  const { jobs } = await admin.call(createJobs, { body: { deviceIds: [deviceId] } });
  const body = { agentName: "documented", siteIds: [siteId] };
  await admin.call(createJoinToken, { body });
  await admin.call(createApiToken, { body: { name: "documented" } });
  const secret = { name: "documented", username: "backup", password: "documented" };
  await admin.call(createCredential, { body: secret });
  return { deviceId, jobId: jobs[0]?.jobId };
}

Deno.test("/api/docs and what it loads come from here, under a policy without exceptions", async () => {
  const page = await plane.fetch("/api/docs");
  const policy = page.headers.get("content-security-policy") ?? "";
  assert.match(policy, /default-src 'none'; script-src 'self'; style-src 'self'/);
  assert.doesNotMatch(policy, /unsafe|http|\*/);
  const html = await page.text();
  const loaded = [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map((match) => match[1] ?? "")
    .filter((address) => !address.startsWith("data:"));
  assert.equal(loaded.length, 3);
  for (const address of loaded) {
    const reply = await plane.fetch(address);
    assert.equal(reply.status, 200, address);
    assert.match(reply.headers.get("content-type") ?? "", /^text\/(css|javascript)/);
    assert.ok((await reply.bytes()).length > 100);
  }
});

async function read(): Promise<unknown> {
  return await (await plane.fetch("/api/v1/openapi.json")).json();
}

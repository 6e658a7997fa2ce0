import assert from "node:assert/strict";
import SwaggerParser from "@apidevtools/swagger-parser";
import { z } from "zod";
import { ENDPOINTS } from "@rookery/shared/api/mod.ts";
import { testControlPlane } from "../support/control_plane.ts";
import { testDatabase } from "../support/database.ts";

const plane = testControlPlane(testDatabase());

const Operation = z.object({
  operationId: z.string(),
  summary: z.string(),
  parameters: z.array(z.object({ name: z.string(), in: z.string(), required: z.boolean() }))
    .default([]),
  responses: z.record(z.string(), z.unknown()),
  security: z.array(z.record(z.string(), z.unknown())),
});
const Document = z.object({
  openapi: z.string(),
  paths: z.record(z.string(), z.record(z.string(), Operation)),
  components: z.object({ securitySchemes: z.record(z.string(), z.unknown()) }),
});

Deno.test("/api/v1/openapi.json is valid OpenAPI 3.1", async () => {
  const document = await read();
  await SwaggerParser.validate(structuredClone(document) as never);
  assert.match(Document.parse(document).openapi, /^3\.1\./);
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

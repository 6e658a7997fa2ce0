import assert from "node:assert/strict";
import { z } from "zod";
import { createDevice, listDevices } from "./api/devices.ts";
import { createSite } from "./api/sites.ts";
import { fieldErrors, type InputPlace } from "./field_errors.ts";

Deno.test("fieldErrors() says in plain words what a field must be", () => {
  assert.deepEqual(told(createSite.body, { maxLive: 0, paused: "yes", hostKeyPolicy: "lax" }), {
    "#/name": "is required",
    "#/maxLive": "must be at least 1",
    "#/paused": "must be true or false",
    "#/hostKeyPolicy": "must be one of first_use, strict",
  });
  const wrong = { name: "", siteId: "x", host: 7, port: 1.5, connectSeconds: 1e9, platform: "ios" };
  assert.deepEqual(told(createDevice.body, wrong), {
    "#/name": "must not be empty",
    "#/siteId": "must be a UUID",
    "#/host": "must be text",
    "#/port": "must be a whole number",
    "#/connectSeconds": "must be at most 300",
    "#/platform": "must be a platform that has a driver: cisco_iosxe, frr, juniper_junos, linux",
  });
  assert.deepEqual(told(listDevices.query, { archived: "perhaps", limit: "x" }, "query"), {
    "?archived": "must be true or false",
    "?limit": "must be a number",
  });
  const list = z.array(z.string().max(2)).max(1);
  assert.deepEqual(told(list, ["abc"]), { "#/0": "must have at most 2 characters" });
  assert.deepEqual(told(list, ["a", "b"]), { "#/": "must have at most 1 entry" });
});

Deno.test("fieldErrors() points at each field that is not known", () => {
  const body = { name: "x", nme: "x", "a/b": 1 };
  assert.deepEqual(told(createSite.body, body), {
    "#/nme": "is not known here",
    "#/a~1b": "is not known here",
  });
});

Deno.test("fieldErrors() leaves the words of a check as they are", () => {
  const schema = z.strictObject({ a: z.string().regex(/^x$/, "must be x") });
  assert.deepEqual(told(schema, { a: "y" }), { "#/a": "must be x" });
});

function told(schema: z.ZodType, value: unknown, place: InputPlace = "body") {
  const { error } = schema.safeParse(value);
  assert.ok(error);
  return Object.fromEntries(
    fieldErrors(error, place).map(({ pointer, detail }) => [pointer, detail]),
  );
}

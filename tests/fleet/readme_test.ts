/** What the README says of the protocol and of threats names nothing that does not exist, and leaves no call out. */
import assert from "node:assert/strict";
import { join } from "node:path";
import * as protocol from "@rookery/shared/api/agent_protocol.ts";
import { isEndpoint } from "@rookery/shared/endpoint.ts";
import { CREDENTIAL_TYPE, LEASE_TYPE } from "@rookery/shared/jobs/lease.ts";
import { RESULT_TYPE } from "@rookery/shared/jobs/result.ts";
import {
  SEALED_CAPTURE_CONTENT,
  SEALED_REPORT_TYPE,
  SEALED_RESULT_CONTENT,
} from "@rookery/shared/jobs/sealed_report.ts";
import { KEY_STATEMENT_TYPE } from "@rookery/shared/key_statement.ts";
import { ROTATION_TYPE } from "@rookery/shared/key_rotation.ts";
import { ProblemType } from "@rookery/shared/problem.ts";

const ROOT = join(import.meta.dirname ?? ".", "..", "..");
const ENDPOINTS = Object.values<unknown>(protocol).filter(isEndpoint);
const readme = await Deno.readTextFile(join(ROOT, "README.md"));

function section(title: string): string {
  return readme.split(/^## /m).find((part) => part.startsWith(`${title}\n`)) ??
    assert.fail(`The README has no part ${title}`);
}

Deno.test("the README's protocol names every call of agents, and every type of envelope", () => {
  const text = section("Protocol");
  for (const endpoint of ENDPOINTS) {
    const path = endpoint.path.replace("/agent/v1/", "").replaceAll(":leaseId", ":id");
    assert.match(text, new RegExp(`\\| \`(?=[^|]*${endpoint.method})[^|]*${path}\``), path);
  }
  const types = [
    ...[LEASE_TYPE, CREDENTIAL_TYPE, RESULT_TYPE, KEY_STATEMENT_TYPE, ROTATION_TYPE],
    ...[SEALED_REPORT_TYPE, SEALED_CAPTURE_CONTENT, SEALED_RESULT_CONTENT, "dpop+jwt"],
  ];
  for (const type of types) assert.ok(text.includes(`\`${type}\``), type);
});

Deno.test("the README's protocol names every field that agents send and are sent", () => {
  const text = section("Protocol");
  for (const { body, reply, path } of ENDPOINTS) {
    for (const schema of [body, reply]) {
      const shape = schema && "shape" in schema ? Object.keys(schema.shape as object) : [];
      for (const field of shape) {
        assert.match(text, new RegExp(`\\b${field}\\b`), `${path} ${field}`);
      }
    }
  }
});

Deno.test("the README's protocol knows the problems it tells agents what to do about", () => {
  const named = section("Protocol").matchAll(/`([a-z-]+)` [45]\d\d/g);
  const types = [...named].map(([, type]) => ProblemType.parse(type));
  assert.ok(types.length >= 15);
});

Deno.test("the README's threats name tests that exist", async () => {
  const shown = [...section("Threats").matchAll(/`([\w/]+_test\.ts)`((?:,? "[^"]+")+)/g)];
  assert.ok(shown.length >= 20);
  for (const [, file = "", titles = ""] of shown) {
    const path = file.includes("/") ? file : `tests/fleet/${file}`;
    const text = await Deno.readTextFile(join(ROOT, path));
    for (const [, title = ""] of titles.matchAll(/"([^"]+)"/g)) {
      assert.ok(text.includes(title), `${path} has no test "${title}"`);
    }
  }
});

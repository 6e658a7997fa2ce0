import assert from "node:assert/strict";
import { failureSentence } from "@rookery/shared/jobs/failure.ts";
import { abortError, DeviceError, plainText, type Stage, toDeviceError } from "./ssh_failure.ts";

const CASES: readonly (readonly [object, Stage, string])[] = [
  [{ code: "ENOTFOUND" }, "resolve", "address_unresolved"],
  [{ code: "ECONNREFUSED", level: "client-socket" }, "connect", "connection_refused"],
  [{ code: "EHOSTUNREACH" }, "connect", "unreachable"],
  [{ code: "ENETUNREACH" }, "connect", "unreachable"],
  [{ code: "ETIMEDOUT" }, "connect", "connect_timed_out"],
  [{ code: "ETIMEDOUT" }, "session", "connection_lost"],
  [{ code: "ECONNRESET" }, "login", "connection_lost"],
  [{ code: "EPIPE" }, "session", "connection_lost"],
  [{ name: "NotCapable", code: "EPERM" }, "connect", "refused_by_agent_policy"],
  [{ code: 12 }, "handshake", "device_busy"],
  [{ code: 14 }, "login", "auth_rejected"],
  [{ code: 2 }, "session", "connection_lost"],
  [{ level: "client-authentication" }, "login", "auth_rejected"],
  [{ level: "handshake" }, "handshake", "handshake_failed"],
  [{ level: "protocol" }, "session", "connection_lost"],
  [{ code: "toString" }, "session", "connection_lost"],
];

for (const [properties, stage, code] of CASES) {
  Deno.test(`toDeviceError() takes ${JSON.stringify(properties)} at ${stage} for ${code}`, () => {
    const cause = Object.assign(new Error("it broke"), properties);
    const error = toDeviceError(cause, stage, { where: "core-1:22" });
    assert.equal(error.code, code);
    assert.equal(error.cause, cause);
    assert.match(error.message, /^Cannot [a-z ]+ core-1:22: it broke$/);
  });
}

Deno.test("toDeviceError() leaves a DeviceError as it is, and takes whatever else is thrown", () => {
  const error = new DeviceError("pager_stuck");
  assert.equal(toDeviceError(error, "session"), error);
  assert.equal(error.message, failureSentence("pager_stuck"));
  assert.equal(toDeviceError("text", "session").code, "connection_lost");
  assert.equal(toDeviceError(undefined, "handshake").code, "handshake_failed");
});

Deno.test("abortError() keeps the caller's own reason", () => {
  const reason = new DeviceError("lease_lost");
  assert.equal(abortError(AbortSignal.abort(reason)), reason);
  assert.equal(abortError(AbortSignal.abort()).code, "cancelled");
  const timeOut = new DOMException("late", "TimeoutError");
  assert.equal(abortError(AbortSignal.abort(timeOut)).code, "total_timed_out");
});

Deno.test("plainText() makes one printable line of anything", () => {
  assert.equal(plainText("\x1b[31mLogin\r\n\r\n failed\x07 é", 100), "[31mLogin failed");
  assert.equal(plainText("x".repeat(50), 10), `${"x".repeat(10)}…`);
});

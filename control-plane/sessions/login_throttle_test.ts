import assert from "node:assert/strict";
import { ProblemError } from "@rookery/shared/problem.ts";
import { LoginThrottle } from "./login_throttle.ts";

Deno.test("LoginThrottle makes the sixth failure wait, ever longer, and forgets at last", () => {
  const { throttle, clock } = start();
  for (let attempt = 0; attempt < 5; attempt++) throttle.begin("anna", "192.0.2.1");
  assert.equal(waitFor(() => throttle.begin("ANNA", "192.0.2.1")), 1);
  clock.seconds += 1;
  throttle.begin("anna", "192.0.2.1");
  assert.equal(waitFor(() => throttle.begin("anna", "192.0.2.1")), 2);
  clock.seconds += 1_801;
  throttle.begin("anna", "192.0.2.1");
});

Deno.test("LoginThrottle holds up neither another address nor another account", () => {
  const { throttle } = start();
  for (let attempt = 0; attempt < 5; attempt++) throttle.begin("anna", "192.0.2.1");
  throttle.begin("anna", "192.0.2.2");
  throttle.begin("bert", "192.0.2.1");
});

Deno.test("LoginThrottle stops an address that tries many accounts", () => {
  const { throttle } = start();
  for (let attempt = 0; attempt < 50; attempt++) throttle.begin(`user${attempt}`, "192.0.2.1");
  assert.equal(waitFor(() => throttle.begin("somebody", "192.0.2.1")), 1);
});

Deno.test("LoginThrottle forgives an account with its success", () => {
  const { throttle } = start();
  for (let round = 0; round < 3; round++) {
    for (let attempt = 0; attempt < 5; attempt++) throttle.begin("anna", `192.0.2.${round}`);
    throttle.succeed("anna", `192.0.2.${round}`);
    throttle.begin("anna", `192.0.2.${round}`);
  }
});

Deno.test("LoginThrottle never waits longer than a quarter of an hour", () => {
  const { throttle, clock } = start();
  for (let attempt = 0; attempt < 40; attempt++) {
    throttle.begin("anna", "192.0.2.1");
    clock.seconds += 900;
  }
});

Deno.test("LoginThrottle takes a /64 of IPv6 for one address", () => {
  const { throttle } = start();
  for (let attempt = 0; attempt < 5; attempt++) throttle.begin("anna", `2001:db8::${attempt}`);
  assert.equal(waitFor(() => throttle.begin("anna", "2001:db8::ffff")), 1);
  throttle.begin("anna", "2001:db8:0:1::1");
});

Deno.test("LoginThrottle slows guesses at one account from everywhere, and never for more than a minute", () => {
  const { throttle, clock } = start();
  for (let attempt = 0; attempt < 20; attempt++) throttle.begin("anna", `192.0.2.${attempt}`);
  assert.equal(waitFor(() => throttle.begin("anna", "198.51.100.1")), 1);
  for (let attempt = 0; attempt < 40; attempt++) {
    clock.seconds += 60;
    throttle.begin("anna", `203.0.113.${attempt}`);
  }
  throttle.begin("bert", "198.51.100.1");
});

Deno.test("LoginThrottle lets an account in from where it was before, whoever guesses elsewhere", () => {
  const { throttle } = start();
  throttle.begin("anna", "198.51.100.1");
  throttle.succeed("anna", "198.51.100.1");
  for (let attempt = 0; attempt < 20; attempt++) throttle.begin("anna", `192.0.2.${attempt}`);
  assert.ok(waitFor(() => throttle.begin("anna", "192.0.2.99")));
  throttle.begin("Anna", "198.51.100.1");
});

Deno.test("LoginThrottle gives back an attempt that was not checked", () => {
  const { throttle } = start();
  for (let attempt = 0; attempt < 200; attempt++) {
    throttle.begin("anna", "192.0.2.1");
    throttle.giveBack("anna", "192.0.2.1");
  }
  throttle.begin("anna", "192.0.2.1");
});

function start() {
  const clock = { seconds: 10_000 };
  return { clock, throttle: new LoginThrottle({ nowSeconds: () => clock.seconds }) };
}

function waitFor(attempt: () => void): number | undefined {
  try {
    attempt();
    return undefined;
  } catch (error) {
    assert.ok(error instanceof ProblemError && error.type === "too-many-requests");
    return error.retryAfterSeconds;
  }
}

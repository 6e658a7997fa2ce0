import assert from "node:assert/strict";
import { CommandLineError, readCommandLine } from "./command_line.ts";

Deno.test("readCommandLine() reads every command, and help before anything else", () => {
  const unset = {
    state: "data/agent",
    url: undefined,
    token: undefined,
    device: undefined,
    json: false,
    log: undefined,
    logLevel: "info",
    allowRoot: false,
  };
  assert.deepEqual(readCommandLine(["run"]), { ...unset, command: "run" });
  assert.deepEqual(readCommandLine(["status", "--state", "/s"]), {
    ...unset,
    command: "status",
    state: "/s",
  });
  assert.deepEqual(readCommandLine(["enroll", "--url", "https://a", "--token", "t"]), {
    ...unset,
    command: "enroll",
    url: "https://a",
    token: "t",
  });
  assert.deepEqual(readCommandLine(["doctor", "--device", "[::1]:22", "--json"]), {
    ...unset,
    command: "doctor",
    device: "[::1]:22",
    json: true,
  });
  assert.deepEqual(
    readCommandLine(["run", "--log", "text", "--log-level", "warn", "--allow-root"]),
    {
      ...unset,
      command: "run",
      log: "text",
      logLevel: "warn",
      allowRoot: true,
    },
  );
  for (const args of [["--help"], ["-h"], ["help"], ["enroll", "-h"]]) {
    assert.equal(readCommandLine(args).command, "help");
  }
});

const WRONG: readonly (readonly [args: readonly string[], message: RegExp])[] = [
  [[], /^No command is given: use one of enroll, run, status, doctor$/],
  [["start"], /^There is no command start: /],
  [["run", "--log", "xml"], /^Cannot use --log xml: use one of text, json$/],
  [["run", "--log-level", "all"], /^Cannot use --log-level all: use one of info, warn, error$/],
  [["run", "now"], /^Cannot use now: /],
  [["run", "--stat", "/s"], /^Unknown option '--stat'$/],
  [["run", "--state"], /--state/],
  [["enroll", "--url", "https://a"], /^Cannot enrol: name --url and --token$/],
];

for (const [args, message] of WRONG) {
  Deno.test(`readCommandLine() refuses "${args.join(" ")}"`, () => {
    assert.throws(() => readCommandLine(args), (error: Error) => {
      return error instanceof CommandLineError && message.test(error.message);
    });
  });
}

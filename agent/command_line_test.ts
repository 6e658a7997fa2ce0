import assert from "node:assert/strict";
import { CommandLineError, readCommandLine } from "./command_line.ts";

Deno.test("readCommandLine() reads every command, and help before anything else", () => {
  const unset = { state: "data/agent", url: undefined, token: undefined };
  assert.deepEqual(readCommandLine(["run"]), { ...unset, command: "run" });
  assert.deepEqual(readCommandLine(["status", "--state", "/s"]), {
    ...unset,
    command: "status",
    state: "/s",
  });
  assert.deepEqual(readCommandLine(["enroll", "--url", "https://a", "--token", "t"]), {
    command: "enroll",
    state: "data/agent",
    url: "https://a",
    token: "t",
  });
  for (const args of [["--help"], ["-h"], ["help"], ["enroll", "-h"]]) {
    assert.equal(readCommandLine(args).command, "help");
  }
});

const WRONG: readonly (readonly [args: readonly string[], message: RegExp])[] = [
  [[], /^No command is given: use one of enroll, run, status$/],
  [["start"], /^There is no command start: /],
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

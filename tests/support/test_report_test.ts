import assert from "node:assert/strict";
import { countCases, readSkips, summarise } from "./test_report.ts";

const REPORT = `<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="deno test" tests="6" failures="3" errors="0" time="0.112">
    <testsuite name="./a_test.ts" tests="6" disabled="1" errors="0" failures="3">
        <testcase name="ok" classname="./a_test.ts" time="0.003" line="1" col="6">
            <failure message="1 test step failed">1 test step failed.</failure>
        </testcase>
        <testcase name="a &gt; b" classname="./a_test.ts" time="0.000" line="2" col="6">
        </testcase>
        <testcase name="ign" classname="./a_test.ts" time="0.000" line="3" col="11">
            <skipped/>
        </testcase>
        <testcase name="ok &gt; s1" classname="./a_test.ts" time="0.000" line="1" col="38">
        </testcase>
        <testcase name="ok &gt; s2" classname="./a_test.ts" time="0.001" line="1" col="65">
            <failure message="x">Error: &lt;skipped/&gt;</failure>
        </testcase>
    </testsuite>
    <testsuite name="./b_test.ts" tests="1" disabled="0" errors="0" failures="0">
        <testcase name="ok" classname="./b_test.ts" time="0.003" line="1" col="6">
        </testcase>
    </testsuite>
</testsuites>`;

Deno.test("countCases() counts a test with its steps once, in its own file", () => {
  assert.deepEqual(countCases(REPORT), { passed: 2, failed: 1, skipped: 1 });
});

Deno.test("summarise() puts the counts alone on a line and groups the skips by reason", () => {
  const skips = readSkips(`{"name":"a","why":"no FRR"}\n{"name":"b","why":"no FRR"}\n`);
  assert.equal(
    summarise({ passed: 5, failed: 0, skipped: 3 }, skips),
    "5 passed, 0 failed, 3 skipped\nskipped 2: no FRR\nskipped 1: no reason given",
  );
  assert.equal(summarise({ passed: 5, failed: 1, skipped: 0 }, []), "5 passed, 1 failed");
});

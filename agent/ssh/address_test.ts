import assert from "node:assert/strict";
import { canonicalAddress } from "./address.ts";

const CASES: readonly (readonly [address: string, canonical: string])[] = [
  ["192.0.2.1", "192.0.2.1"],
  ["2001:DB8:0:0:0:0:0:1", "2001:db8::1"],
  ["::ffff:192.0.2.1", "192.0.2.1"],
  ["::FFFF:c000:0201", "192.0.2.1"],
  ["fe80::1%eth0", "fe80::1%eth0"],
  ["::1", "::1"],
  ["core-1.example", "core-1.example"],
];

for (const [address, canonical] of CASES) {
  Deno.test(`canonicalAddress() spells ${address} as ${canonical}`, () => {
    assert.equal(canonicalAddress(address), canonical);
  });
}

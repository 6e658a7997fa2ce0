import assert from "node:assert/strict";
import { clientAddress, networkOf, readTrustedProxies } from "./address.ts";

const NOBODY = readTrustedProxies("");
const PROXIES = readTrustedProxies("10.0.0.0/8, 2001:db8::1");

Deno.test("clientAddress() ignores forwarding headers of whoever is not trusted", () => {
  assert.equal(clientAddress("192.0.2.1", "198.51.100.7", NOBODY), "192.0.2.1");
  assert.equal(clientAddress("192.0.2.1", "198.51.100.7", PROXIES), "192.0.2.1");
});

Deno.test("clientAddress() takes the address that the last trusted proxy saw", () => {
  assert.equal(clientAddress("10.1.2.3", "198.51.100.7", PROXIES), "198.51.100.7");
  assert.equal(clientAddress("10.1.2.3", "6.6.6.6, 198.51.100.7", PROXIES), "198.51.100.7");
  assert.equal(clientAddress("10.1.2.3", "198.51.100.7, 10.9.9.9", PROXIES), "198.51.100.7");
  assert.equal(clientAddress("2001:db8::1", "2001:db8::99", PROXIES), "2001:db8::99");
  assert.equal(clientAddress("::ffff:10.1.2.3", "198.51.100.7", PROXIES), "198.51.100.7");
});

Deno.test("clientAddress() keeps the proxy's address when what it forwards is no address", () => {
  assert.equal(clientAddress("10.1.2.3", undefined, PROXIES), "10.1.2.3");
  assert.equal(clientAddress("10.1.2.3", "unknown", PROXIES), "10.1.2.3");
  assert.equal(clientAddress("10.1.2.3", "198.51.100.7, <script>", PROXIES), "10.1.2.3");
});

Deno.test("networkOf() is an IPv4 address itself, and the /64 of an IPv6 address however written", () => {
  assert.equal(networkOf("192.0.2.1"), "192.0.2.1");
  assert.equal(networkOf("::ffff:192.0.2.1"), "192.0.2.1");
  for (
    const address of [
      "2001:db8:0:7::1",
      "2001:DB8:0:7:ffff:ffff:ffff:ffff",
      "2001:0db8:0000:0007:1:2:192.0.2.1",
      "2001:db8:0:7::1%eth0",
    ]
  ) {
    assert.equal(networkOf(address), "2001:db8:0:7::/64");
  }
  assert.equal(networkOf("::1"), "0:0:0:0::/64");
  assert.equal(networkOf("1::"), "1:0:0:0::/64");
  assert.equal(networkOf(""), "");
});

Deno.test("readTrustedProxies() refuses what is no network", () => {
  for (const text of ["proxy.example.com", "10.0.0.0/33", "10.0.0.0/x", "2001:db8::/129"]) {
    assert.throws(() => readTrustedProxies(text), /is no address and no network/);
  }
});

import assert from "node:assert/strict";
import { clientAddress, readTrustedProxies } from "./address.ts";

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

Deno.test("readTrustedProxies() refuses what is no network", () => {
  for (const text of ["proxy.example.com", "10.0.0.0/33", "10.0.0.0/x", "2001:db8::/129"]) {
    assert.throws(() => readTrustedProxies(text), /is no address and no network/);
  }
});

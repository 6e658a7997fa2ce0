import assert from "node:assert/strict";
import { readConfig } from "./config.ts";

Deno.test("readConfig() listens on loopback without TLS when nothing is set", () => {
  const config = readConfig({ DATABASE_URL: "", PATH: "/bin" });
  assert.equal(config.databaseUrl, undefined);
  assert.deepEqual([config.hostname, config.port], ["127.0.0.1", 8080]);
  assert.equal(config.publicUrl, "http://127.0.0.1:8080");
  assert.equal(config.keyFile, "./data/keys.json");
  assert.equal(config.tls, undefined);
});

Deno.test("readConfig() reads every variable", () => {
  const config = readConfig({
    DATABASE_URL: "postgres://localhost/rookery",
    ROOKERY_DATA: "/srv/rookery",
    ROOKERY_KEYS: "/etc/rookery/keys.json",
    ROOKERY_LISTEN: "[::1]:9443",
    ROOKERY_PUBLIC_URL: "https://rookery.example.com/",
    ROOKERY_TRUSTED_PROXIES: "10.0.0.0/8",
    ROOKERY_TLS_CERT: "/etc/rookery/cert.pem",
    ROOKERY_TLS_KEY: "/etc/rookery/key.pem",
  });
  assert.equal(config.databaseUrl, "postgres://localhost/rookery");
  assert.deepEqual([config.hostname, config.port], ["::1", 9443]);
  assert.equal(config.publicUrl, "https://rookery.example.com");
  assert.equal(config.keyFile, "/etc/rookery/keys.json");
  assert.equal(config.trustedProxies.check("10.1.1.1", "ipv4"), true);
  assert.deepEqual(config.tls, {
    certFile: "/etc/rookery/cert.pem",
    keyFile: "/etc/rookery/key.pem",
  });
});

Deno.test("readConfig() wants a public URL where it listens on every address", () => {
  for (const ROOKERY_LISTEN of ["0.0.0.0:8080", "[::]:8080", "[0:0:0:0:0:0:0:0]:8080"]) {
    assert.throws(() => readConfig({ ROOKERY_LISTEN }), /Set ROOKERY_PUBLIC_URL/);
    const ROOKERY_PUBLIC_URL = "https://rookery.example.com";
    const { publicUrl } = readConfig({ ROOKERY_LISTEN, ROOKERY_PUBLIC_URL });
    assert.equal(publicUrl, ROOKERY_PUBLIC_URL);
  }
});

Deno.test("readConfig() names the variable that is wrong", () => {
  const wrong: readonly (readonly [string, string])[] = [
    ["ROOKERY_LISTEN", "8080"],
    ["ROOKERY_LISTEN", "localhost:99999"],
    ["ROOKERY_LISTEN", "127.0.0.1:0"],
    ["ROOKERY_PUBLIC_URL", "rookery.example.com"],
    ["ROOKERY_PUBLIC_URL", "https://rookery.example.com/app"],
    ["ROOKERY_PUBLIC_URL", "https://user:secret@rookery.example.com"],
    ["ROOKERY_TRUSTED_PROXIES", "everybody"],
    ["ROOKERY_TLS_KEY", "/etc/key.pem"],
    ["ROOKERY_MAX_CONNECTIONS", "many"],
    ["ROOKERY_MAX_CONNECTIONS_PER_ADDRESS", "0"],
  ];
  for (const [name, value] of wrong) {
    assert.throws(() => readConfig({ [name]: value }), new RegExp(name));
  }
});

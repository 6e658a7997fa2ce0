import type { ConnectOptions } from "../../agent/ssh/connect.ts";
import assert from "node:assert/strict";
import type ssh2 from "ssh2";
import { type HostKey, makeHostKey } from "../support/farm/key_pair.ts";
import { connectTo, failure, startSshServer } from "./ssh_server.ts";

type Pin = ConnectOptions["hostKeys"][number];

function pin({ type, fingerprint }: HostKey): Pin {
  return { type, fingerprint };
}

Deno.test("connect() gives the key that was seen on first use", async () => {
  await using server = await startSshServer();
  await using connection = await connectTo(server.port);
  assert.deepEqual(connection.hostKey, pin(server.hostKey));
});

Deno.test("connect() accepts a pinned key under the strict policy", async () => {
  await using server = await startSshServer();
  await using _connection = await connectTo(server.port, {
    hostKeyPolicy: "strict",
    hostKeys: [pin(makeHostKey()), pin(server.hostKey)],
  });
  assert.deepEqual(server.attempts, ["none", "password"]);
  assert.equal(server.keyExchanges, 1);
});

Deno.test("connect() sends a strict site's unknown device no login at all", async () => {
  await using server = await startSshServer();
  const error = await failure(
    connectTo(server.port, { hostKeyPolicy: "strict" }),
    "host_key_unknown",
  );
  assert.deepEqual(error.hostKey, pin(server.hostKey));
  await server.allClosed();
  assert.deepEqual(server.attempts, []);
  assert.equal(server.keyExchanges, 0);
});

for (const hostKeyPolicy of ["first_use", "strict"] as const) {
  for (const pinned of ["ed25519", "ecdsa"] as const) {
    Deno.test(`connect() sends no login to a changed key: ${hostKeyPolicy}, pinned ${pinned}`, async () => {
      await using server = await startSshServer();
      const hostKeys = [pin(makeHostKey(pinned))];
      const error = await failure(
        connectTo(server.port, { hostKeyPolicy, hostKeys }),
        "host_key_changed",
      );
      assert.deepEqual(error.hostKey, pin(server.hostKey));
      await server.allClosed();
      assert.deepEqual(server.attempts, []);
      assert.equal(server.keyExchanges, 0);
    });
  }
}

for (const type of ["ed25519", "ecdsa", "rsa"] as const) {
  Deno.test(`connect() asks a device with several keys for the pinned one: ${type}`, async () => {
    const hostKeys = {
      ed25519: makeHostKey("ed25519"),
      ecdsa: makeHostKey("ecdsa"),
      rsa: makeHostKey("rsa"),
    };
    await using server = await startSshServer({ hostKeys: Object.values(hostKeys) });
    await using connection = await connectTo(server.port, {
      hostKeyPolicy: "strict",
      hostKeys: [pin(hostKeys[type])],
    });
    assert.deepEqual(connection.hostKey, pin(hostKeys[type]));
  });
}

const LEGACY: ssh2.Algorithms = {
  compress: ["none"],
  kex: ["diffie-hellman-group14-sha1"],
  serverHostKey: ["ssh-rsa"],
  cipher: ["aes256-cbc", "3des-cbc"],
  hmac: ["hmac-md5"],
};

Deno.test("connect() names the algorithms of a legacy device and the switch that allows them", async () => {
  await using server = await startSshServer({ hostKeys: [makeHostKey("rsa")], algorithms: LEGACY });
  const error = await failure(connectTo(server.port), "legacy_algorithms_only");
  for (const names of Object.values(LEGACY).flat()) {
    if (names !== "none") assert.ok(error.message.includes(`${names}`), `${names} is missing`);
  }
  assert.match(error.message, /legacyAlgorithms/);
  await server.allClosed();
  assert.deepEqual(server.attempts, []);
});

Deno.test("connect() speaks to a legacy device that is allowed to be one, and says with what", async () => {
  await using server = await startSshServer({ hostKeys: [makeHostKey("rsa")], algorithms: LEGACY });
  await using connection = await connectTo(server.port, { legacyAlgorithms: true });
  assert.deepEqual(connection.algorithms, {
    kex: "diffie-hellman-group14-sha1",
    cipher: "aes256-cbc",
    mac: "hmac-md5",
    hostKey: "ssh-rsa",
  });
});

Deno.test("connect() speaks modern algorithms to a modern device with the legacy ones allowed", async () => {
  await using server = await startSshServer();
  await using connection = await connectTo(server.port, { legacyAlgorithms: true });
  assert.equal(connection.algorithms.kex, "curve25519-sha256");
  assert.equal(connection.algorithms.cipher, "aes128-gcm@openssh.com");
});

Deno.test("connect() does not promise that the switch helps where it does not", async () => {
  await using server = await startSshServer({
    algorithms: { compress: ["none"], kex: ["diffie-hellman-group15-sha512"] },
  });
  const error = await failure(connectTo(server.port), "handshake_failed");
  assert.match(error.message, /diffie-hellman-group15-sha512/);
  assert.ok(!error.message.includes("legacyAlgorithms"));
});

import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import ssh2 from "ssh2";
import { type KeyPair, makeKeyPair, parseKey } from "../support/farm/key_pair.ts";
import { connectTo, failure, PASSWORD, startSshServer } from "./ssh_server.ts";

function acceptKey(keyPair: KeyPair): (context: ssh2.AuthContext) => void {
  const key = parseKey(keyPair.publicKey);
  return (context) => {
    if (context.method !== "publickey") return context.reject(["publickey"]);
    if (!key.getPublicSSH().equals(context.key.data)) return context.reject(["publickey"]);
    if (!context.signature || !context.blob) return context.accept();
    const signed = key.verify(context.blob, context.signature, context.hashAlgo) === true;
    if (signed) context.accept();
    else context.reject(["publickey"]);
  };
}

function ask(
  context: ssh2.AuthContext,
  prompt: string,
  decide: (answer: string | undefined) => void,
): void {
  if (context.method !== "keyboard-interactive") return context.reject(["keyboard-interactive"]);
  context.prompt([{ prompt, echo: false }], (answers) => decide(answers[0]));
}

Deno.test("connect() logs in by password and closes without a trace", async () => {
  await using server = await startSshServer();
  await using connection = await connectTo(server.port);
  assert.equal(connection.hostKey.fingerprint, server.hostKey.fingerprint);
  assert.deepEqual(connection.algorithms, {
    kex: "curve25519-sha256",
    cipher: "aes128-gcm@openssh.com",
    mac: "implicit",
    hostKey: "ssh-ed25519",
  });
  assert.deepEqual(server.attempts, ["none", "password"]);
  await connection.close();
  await connection.close();
  await server.allClosed();
});

Deno.test("connect() answers a password question where only keyboard-interactive is offered", async () => {
  await using server = await startSshServer({
    authenticate: (context) =>
      ask(
        context,
        "netops's Password: ",
        (answer) =>
          answer === PASSWORD ? context.accept() : context.reject(["keyboard-interactive"]),
      ),
  });
  await using _connection = await connectTo(server.port);
  assert.deepEqual(server.attempts, ["none", "keyboard-interactive"]);
});

Deno.test("connect() lets a device in that asks for nothing", async () => {
  await using server = await startSshServer({ authenticate: (context) => context.accept() });
  await using _connection = await connectTo(server.port);
  assert.deepEqual(server.attempts, ["none"]);
});

for (
  const [name, keyPair] of [
    ["ed25519", makeKeyPair("ed25519")],
    ["rsa", makeKeyPair("rsa")],
    ["ecdsa", makeKeyPair("ecdsa")],
    ["encrypted ed25519", makeKeyPair("ed25519", { passphrase: "open sesame" })],
    ["ecdsa P-384 in PKCS#8", pemPair("P-384", "pkcs8")],
    ["ecdsa P-521 in SEC1", pemPair("P-521", "sec1")],
  ] as const
) {
  Deno.test(`connect() logs in by key: ${name}`, async () => {
    await using server = await startSshServer({ authenticate: acceptKey(keyPair) });
    await using _connection = await connectTo(server.port, {
      password: undefined,
      privateKey: keyPair.privateKey,
      passphrase: keyPair.passphrase,
    });
    assert.equal(server.attempts.at(-1), "publickey");
  });
}

function pemPair(namedCurve: string, type: "pkcs8" | "sec1"): KeyPair {
  const pair = generateKeyPairSync("ec", { namedCurve });
  const privateKey = pair.privateKey.export({ type, format: "pem" }).toString();
  const { x = "", y = "" } = pair.publicKey.export({ format: "jwk" });
  const point = Uint8Array.from([4, ...base64Url(x), ...base64Url(y)]);
  const name = `nistp${namedCurve.slice(2)}`;
  const fields = [...field(`ecdsa-sha2-${name}`), ...field(name), ...field(point)];
  const blob = btoa(String.fromCharCode(...fields));
  return { privateKey, publicKey: `ecdsa-sha2-${name} ${blob}` };
}

function base64Url(text: string): Uint8Array {
  return Uint8Array.from(
    atob(text.replaceAll("-", "+").replaceAll("_", "/")),
    (char) => char.charCodeAt(0),
  );
}

function field(content: string | Uint8Array): Uint8Array {
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  return Uint8Array.from([0, 0, bytes.length >> 8, bytes.length & 0xff, ...bytes]);
}

Deno.test("connect() goes on to the password when the key is refused", async () => {
  await using server = await startSshServer({
    authenticate: (context) =>
      context.method === "password" && context.password === PASSWORD
        ? context.accept()
        : context.reject(["publickey", "password"]),
  });
  await using _connection = await connectTo(server.port, {
    privateKey: makeKeyPair("ed25519").privateKey,
  });
  assert.deepEqual(server.attempts, ["none", "publickey", "password"]);
});

for (const offered of [["password"], ["password", "keyboard-interactive"], []] as const) {
  Deno.test(`connect() shows a wrong password once: offered "${offered}"`, async () => {
    await using server = await startSshServer({
      authenticate: (context) => context.reject([...offered]),
    });
    const error = await failure(connectTo(server.port, { password: "wrong" }), "auth_rejected");
    assert.match(error.message, /as netops: it refused password/);
    assert.ok(!error.message.includes("wrong"));
    assert.deepEqual(server.attempts, ["none", "password"]);
    await server.allClosed();
    assert.equal(server.accepted, 1);
  });
}

Deno.test("connect() takes the other way when a device turns the method down, not the password", async () => {
  await using server = await startSshServer({
    authenticate: (context) => {
      if (context.method === "none") return context.reject(["password"]);
      ask(
        context,
        "Password: ",
        (answer) =>
          answer === PASSWORD ? context.accept() : context.reject(["keyboard-interactive"]),
      );
    },
  });
  await using _connection = await connectTo(server.port);
  assert.deepEqual(server.attempts, ["none", "password", "keyboard-interactive"]);
});

Deno.test("connect() shows a wrong password once to a device that asks again and again", async () => {
  let answers = 0;
  await using server = await startSshServer({
    authenticate: (context) => {
      const again = () => {
        answers++;
        ask(context, "Password: ", again);
      };
      ask(context, "Password: ", again);
    },
  });
  await failure(connectTo(server.port), "auth_rejected");
  await server.allClosed();
  assert.equal(answers, 1);
});

Deno.test("connect() takes it for a refusal when a device hangs up on the password", async () => {
  await using server = await startSshServer({
    authenticate: (context) => context.method === "none" && context.reject(["password"]),
    serve: (connection) => {
      connection.on(
        "authentication",
        (context) => context.method === "password" && connection.end(),
      );
    },
  });
  await failure(connectTo(server.port), "auth_rejected");
  assert.deepEqual(server.attempts, ["none", "password"]);
});

Deno.test("connect() says what the device offers when the credential has nothing of it", async () => {
  await using server = await startSshServer({
    authenticate: (context) => context.reject(["publickey"]),
  });
  const error = await failure(connectTo(server.port), "auth_rejected");
  assert.match(error.message, /nothing that it accepts. It offers publickey/);
  assert.deepEqual(server.attempts, ["none"]);
});

const STRANGE_QUESTIONS = [
  "Verification code: ",
  "Do you accept? ",
  "Password (y/n) or quit\nLogin: ",
  "One-time password (OATH) for netops: ",
  "Enter PASSCODE: ",
  "Passcode or option (1-3): ",
  "Enter passphrase for key 'id_rsa': ",
  "Confirm password: ",
  "Reset password: ",
  "Enable password: ",
  "Do you accept the password policy? [yes/no] ",
];

for (const question of STRANGE_QUESTIONS) {
  Deno.test(`connect() gives no secret to a question it does not know: ${JSON.stringify(question)}`, async () => {
    const heard: (string | undefined)[] = [];
    await using server = await startSshServer({
      authenticate: (context) => {
        if (context.method !== "keyboard-interactive") {
          return context.reject(["keyboard-interactive"]);
        }
        const echo = question.startsWith("Password (y/n)");
        context.prompt([{ prompt: question, echo }], (answers) => {
          heard.push(answers[0]);
          context.reject();
        });
      },
    });
    const error = await failure(connectTo(server.port), "auth_rejected");
    assert.match(error.message, /which Rookery does not answer/);
    await server.allClosed();
    assert.deepEqual(heard, []);
  });
}

const PASSWORD_QUESTIONS = [
  "Password: ",
  "password:",
  "(netops@core-1) Password:",
  "netops@core-1's password: ",
  "Password for netops: ",
  "Please enter your RADIUS password: ",
  "Goldman Sachs core, current users are monitored.\r\nPassword: ",
  "Passwort: ",
  "Senha: ",
  "密码：",
];

for (const question of PASSWORD_QUESTIONS) {
  Deno.test(`connect() answers ${JSON.stringify(question)}, whatever the banner says`, async () => {
    await using server = await startSshServer({
      authenticate: (context) => {
        if (context.method !== "keyboard-interactive") {
          return context.reject(["keyboard-interactive"]);
        }
        const banner = "Welcome to the new core. For old and current account holders.";
        context.prompt([{ prompt: question, echo: false }], "Login", banner, (answers) => {
          if (answers[0] === PASSWORD) context.accept();
          else context.reject();
        });
      },
    });
    const connection = await connectTo(server.port);
    await connection.close();
    await server.allClosed();
  });
}

Deno.test("connect() fails with password_expired at SSH's own request for a new password", async () => {
  await using server = await startSshServer({
    authenticate: (context) => {
      if (context.method !== "password") return context.reject(["password"]);
      context.requestChange("Your password has expired.", () => assert.fail("it was changed"));
    },
  });
  const error = await failure(connectTo(server.port), "password_expired");
  assert.match(error.message, /Your password has expired/);
  await server.allClosed();
});

Deno.test("connect() fails with password_expired when a question asks for a new password", async () => {
  await using server = await startSshServer({
    authenticate: (context) => ask(context, "New password: ", () => assert.fail("it was answered")),
  });
  await failure(connectTo(server.port), "password_expired");
  await server.allClosed();
});

Deno.test("connect() fails with login_timed_out when the device never judges the password", async () => {
  await using server = await startSshServer({
    authenticate: (context) => context.method === "none" && context.reject(["password"]),
  });
  await failure(connectTo(server.port, { connectSeconds: 0.5 }), "login_timed_out");
  await server.allClosed();
});

Deno.test("connect() refuses an unusable key before it opens a connection", async () => {
  await using server = await startSshServer();
  const error = await failure(
    connectTo(server.port, { privateKey: "PuTTY-User-Key-File-3: ssh-ed25519\n" }),
    "credential_unusable",
  );
  assert.match(error.message, /puttygen/);
  assert.equal(server.accepted, 0);
});

/** Private keys as openssl and ssh-keygen write them: what agents open, and what they say of the others. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { describePrivateKey } from "@rookery/shared/private_key.ts";
import { readPrivateKey } from "../../agent/ssh/private_key.ts";
import { DeviceError } from "../../agent/ssh/ssh_failure.ts";
import { skipUnless } from "../support/skip.ts";

const PASSPHRASE = "open sesame";
const ENCRYPT = ["pkcs8", "-topk8", "-in", "rsa.pem", "-passout", `pass:${PASSPHRASE}`];
const LEGACY = ["-provider", "legacy", "-provider", "default"];

const withTools = skipUnless(
  await answers("openssl", "version") && await answers("ssh-keygen", "-h"),
  "openssl or ssh-keygen is not installed",
);

async function answers(command: string, argument: string): Promise<boolean> {
  const program = new Deno.Command(command, { args: [argument], stdin: "null" });
  return await program.output().then(() => true, () => false);
}

/** A folder with a fresh rsa key in it, in which tools run. */
async function makeWorkshop() {
  const folder = await Deno.makeTempDir({ prefix: "rookery-keys-" });
  const run = async (command: string, ...args: readonly string[]) => {
    const program = new Deno.Command(command, { args: [...args], cwd: folder, stdin: "null" });
    const { success, stdout, stderr } = await program.output();
    assert.ok(success, new TextDecoder().decode(stderr));
    return new TextDecoder().decode(stdout);
  };
  await run("openssl", "genrsa", "-out", "rsa.pem", "2048");
  return {
    run,
    read: (name: string) => Deno.readTextFile(join(folder, name)),
    [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }),
  };
}

const OPENED: readonly (readonly string[])[] = [
  ["-v2", "aes-128-cbc"],
  ["-v2", "aes-192-cbc"],
  ["-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA384"],
  ["-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA512", "-iter", "100000"],
  ["-scrypt"],
];

for (const flags of OPENED) {
  withTools(`readPrivateKey() opens what openssl pkcs8 ${flags.join(" ")} writes`, async () => {
    await using workshop = await makeWorkshop();
    const pem = await workshop.run("openssl", ...ENCRYPT, ...flags);
    assert.deepEqual(describePrivateKey(pem), { usable: true, type: "unknown", encrypted: true });
    assert.equal(readPrivateKey(pem, PASSPHRASE).type, "ssh-rsa");
    assert.throws(() => readPrivateKey(pem, "wrong"), unusable(/passphrase does not open/));
  });
}

const NAMED: readonly (readonly [flags: readonly string[], name: RegExp])[] = [
  [["-v2", "des3"], /with DES3/],
  [["-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA1"], /HMAC-SHA1/],
  [["-v1", "PBE-SHA1-3DES", ...LEGACY], /PBE-SHA1-3DES/],
  [["-v1", "PBE-MD5-DES", ...LEGACY], /PBE-MD5-DES/],
  [["-v2", "aes-256-cbc", "-iter", "3000001"], /3,000,000 iterations/],
];

for (const [flags, name] of NAMED) {
  withTools(
    `readPrivateKey() names what it cannot undo, and the remedy works: ${name.source}`,
    async () => {
      await using workshop = await makeWorkshop();
      await workshop.run("openssl", ...ENCRYPT, ...flags, "-out", "odd.pem");
      const odd = await workshop.read("odd.pem");
      const startedAt = performance.now();
      assert.throws(() => readPrivateKey(odd, PASSPHRASE), unusable(name));
      assert.ok(performance.now() - startedAt < 200, "it worked on the passphrase");
      const remedy = "pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA256 -in odd.pem -out good.pem";
      assert.throws(() => readPrivateKey(odd), unusable(/openssl pkcs8 -topk8 -v2 aes-256-cbc/));
      const passes = ["-passin", `pass:${PASSPHRASE}`, "-passout", `pass:${PASSPHRASE}`];
      await workshop.run("openssl", ...remedy.split(" "), ...passes, ...LEGACY);
      assert.equal(readPrivateKey(await workshop.read("good.pem"), PASSPHRASE).type, "ssh-rsa");
    },
  );
}

withTools(
  "readPrivateKey() finds the key in what openssl and ssh-keygen write around it",
  async () => {
    await using workshop = await makeWorkshop();
    const { run, read } = workshop;
    const withParameters = await run("openssl", "ecparam", "-name", "prime256v1", "-genkey");
    assert.match(withParameters, /^-----BEGIN EC PARAMETERS/);
    assert.equal(readPrivateKey(withParameters).type, "ecdsa-sha2-nistp256");

    await run(
      "openssl",
      "pkcs12",
      "-export",
      "-nocerts",
      "-inkey",
      "rsa.pem",
      "-out",
      "bag.p12",
      "-passout",
      "pass:x",
    );
    const bag = await run("openssl", "pkcs12", "-in", "bag.p12", "-passin", "pass:x", "-nodes");
    assert.match(bag, /^Bag Attributes|^Key Attributes/);
    assert.equal(readPrivateKey(bag).type, "ssh-rsa");

    await run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "id");
    const both = `${await read("id")}${await read("id.pub")}`;
    assert.equal(readPrivateKey(both).type, "ssh-ed25519");
    assert.throws(() => readPrivateKey(`${both}${both}`), unusable(/several private keys/));
  },
);

withTools("readPrivateKey() names the limit of an rsa key, also behind a passphrase", async () => {
  await using workshop = await makeWorkshop();
  await workshop.run("openssl", "genrsa", "-out", "rsa.pem", "4200");
  const limit = unusable(/rsa key of 4200 bits; agents can use 1024 to 4096/);
  const plain = await workshop.read("rsa.pem");
  assert.throws(() => readPrivateKey(plain), limit);
  const encrypted = await workshop.run("openssl", ...ENCRYPT, "-v2", "aes-256-cbc");
  assert.throws(() => readPrivateKey(encrypted, PASSPHRASE), limit);
  await workshop.run("ssh-keygen", "-q", "-p", "-N", PASSPHRASE, "-f", "rsa.pem");
  const openSsh = await workshop.read("rsa.pem");
  assert.match(openSsh, /^-----BEGIN OPENSSH/);
  assert.throws(() => readPrivateKey(openSsh, PASSPHRASE), limit);
});

function unusable(message: RegExp): (error: unknown) => boolean {
  return (error) =>
    error instanceof DeviceError && error.code === "credential_unusable" &&
    message.test(error.message);
}

import assert from "node:assert/strict";
import { driver, type DriverSource } from "./driver.ts";
import { DRIVERS } from "./mod.ts";
import { redact } from "./redact.ts";

const PLAIN: DriverSource = {
  platform: "test",
  label: "Test",
  evidence: { kind: "unverified" },
  transport: "exec",
  captures: [{
    name: "running",
    commands: ["show"],
    end: { grade: "prompt" },
    minimum: { lines: 1 },
  }],
  restore: "None.",
};

function redactAs(platform: string, text: string): Promise<string> {
  const found = DRIVERS.get(platform) ?? driver(PLAIN);
  return redact(found, text, { tagOf: (secret) => `${secret.length}` });
}

Deno.test("redact() hides each secret of IOS XE and leaves the words around it", async () => {
  const cases = [
    ["snmp-server community PUBLICX RO 5", "snmp-server community <secret:7> RO 5"],
    [
      "snmp-server host 10.0.0.1 version 2c COMM1",
      "snmp-server host 10.0.0.1 version 2c <secret:5>",
    ],
    [
      "snmp-server host 10.0.0.1 vrf M informs version 2c COMM1  tty",
      "snmp-server host 10.0.0.1 vrf M informs version 2c <secret:5>  tty",
    ],
    ["enable secret 9 $9$abc$def", "enable secret 9 <secret:10>"],
    ["enable password level 7 7 0822", "enable password level 7 7 <secret:4>"],
    ["username a privilege 15 password 7 0822", "username a privilege 15 password 7 <secret:4>"],
    ["username a password 123456", "username a password <secret:6>"],
    [" key 7 0822455D", " key 7 <secret:8>"],
    [" key 1", " key 1"],
    [" key-string 0822455D", " key-string <secret:8>"],
    ["radius-server host 10.0.0.1 key topsecret", "radius-server host 10.0.0.1 key <secret:9>"],
    ["crypto isakmp key abc address 10.0.0.1", "crypto isakmp key <secret:3> address 10.0.0.1"],
    [" pre-shared-key local 6 xyz", " pre-shared-key local 6 <secret:3>"],
    [" ip ospf message-digest-key 1 md5 7 0F0F", " ip ospf message-digest-key 1 md5 7 <secret:4>"],
    [
      " standby 1 authentication md5 key-string 7 0A0A",
      " standby 1 authentication md5 key-string 7 <secret:4>",
    ],
    ["service password-encryption", "service password-encryption"],
    [" path ftp://u:p@ss@10.0.0.1/x", " path ftp://u:<secret:4>@10.0.0.1/x"],
  ] as const;
  for (const [line, expected] of cases) {
    assert.equal(await redactAs("cisco_iosxe", `${line}\n`), `${expected}\n`);
  }
});

Deno.test("redact() hides each secret of Junos, marked or not", async () => {
  const cases = [
    [
      `  encrypted-password "$6$a$b"; ## SECRET-DATA`,
      `  encrypted-password "<secret:6>"; ## SECRET-DATA`,
    ],
    [`  secret two-words; ## SECRET-DATA`, `  secret <secret:9>; ## SECRET-DATA`],
    [`  secret "a b c"; ## SECRET-DATA`, `  secret "<secret:5>"; ## SECRET-DATA`],
    [`  community public {`, `  community <secret:6> {`],
    [`  authentication-key "$9$zzz";`, `  authentication-key "<secret:6>";`],
    [`  "ftp://u:pw@10.0.0.1/";`, `  "ftp://u:<secret:2>@10.0.0.1/";`],
  ] as const;
  for (const [line, expected] of cases) {
    assert.equal(await redactAs("juniper_junos", `${line}\n`), `${expected}\n`);
  }
});

Deno.test("redact() hides each secret of FRR and of Linux files", async () => {
  const cases = [
    ["frr", " neighbor 10.0.0.1 password abc", " neighbor 10.0.0.1 password <secret:3>"],
    ["frr", " isis password md5 abc", " isis password md5 <secret:3>"],
    ["frr", "password 8 cryptedXX", "password 8 <secret:9>"],
    ["linux", "PrivateKey = aGVsbG8=", "PrivateKey = <secret:8>"],
    ["linux", "  wpa-psk my pass phrase", "  wpa-psk <secret:14>"],
    ["linux", '      password: "a b"', "      password: <secret:5>"],
    [
      "linux",
      "//nas/x /mnt cifs username=u,password=pw,ro 0 0",
      "//nas/x /mnt cifs username=<secret:1>,password=<secret:2>,ro 0 0",
    ],
  ] as const;
  for (const [platform, line, expected] of cases) {
    assert.equal(await redactAs(platform, `${line}\n`), `${expected}\n`);
  }
});

Deno.test("redact() hides private keys on every platform, also on one line and without an end", async () => {
  const begin = "-----BEGIN RSA PRIVATE KEY-----";
  const end = "-----END RSA PRIVATE KEY-----";
  assert.equal(
    await redactAs("test", `a\n${begin}\nMII\nXYZ\n${end}\nb\n`),
    `a\n${begin}\n<secret:7>\n${end}\nb\n`,
  );
  assert.equal(
    await redactAs("test", `key "${begin} MIIXYZ ${end}"\n`),
    `key "${begin} <secret:6> ${end}"\n`,
  );
  assert.equal(await redactAs("test", `${begin}\nMII\nXYZ\n`), `${begin}\n<secret:7>\n`);
});

Deno.test("redact() sees lines that only a carriage return ends", async () => {
  assert.equal(
    await redactAs("cisco_iosxe", "a\rsnmp-server community PUBLICX RO\r\nb"),
    "a\nsnmp-server community <secret:7> RO\nb\n",
  );
});

Deno.test("redact() gives re-salted values no tag, joins overlapping finds and hides blocks", async () => {
  const found = driver({
    ...PLAIN,
    secrets: [
      { line: /ENC (?<secret>\S+)/, resalted: true, why: "salted anew at every reading" },
      { line: /(?<secret>abc)/, why: "a part of a longer secret" },
      { line: /(?<secret>bcd+)/, why: "a part of a longer secret" },
      { from: /^begin$/, to: /^end$/, why: "all of its lines are secret" },
    ],
  });
  const text = await redact(found, "x ENC q1\nabcddd\nbegin\none\ntwo\nend\nlast\nbegin\nopen\n", {
    tagOf: (secret) => secret.toUpperCase(),
  });
  assert.equal(
    text,
    "x ENC <secret>\n<secret:ABCDDD>\nbegin\n<secret:ONE\nTWO>\nend\nlast\nbegin\n<secret:OPEN\n>",
  );
});

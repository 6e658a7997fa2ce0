import assert from "node:assert/strict";
import { join } from "node:path";
import { readSettings, SettingsError } from "./settings.ts";

async function read(text: string | undefined) {
  const folder = await Deno.makeTempDir({ prefix: "rookery-settings-" });
  try {
    if (text !== undefined) await Deno.writeTextFile(join(folder, "settings.json"), text);
    return await readSettings(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const spool = { maxMegabytes: 256, maxEntries: 10_000 };

Deno.test("readSettings() gives the defaults where nothing is set", async () => {
  const defaults = { capacity: 32, drainSeconds: 120, policy: {}, spool };
  assert.deepEqual(await read(undefined), defaults);
  assert.deepEqual(await read("{}"), defaults);
  const { syslog } = await read(
    '{"syslog": {"sources": ["10.0.0.0/8"], "port": 514, "privilegedPort": true}}',
  );
  const ports = { bind: "0.0.0.0", port: 514, privilegedPort: true };
  const rest = { udp: true, tcp: true, sources: ["10.0.0.0/8"], perSecond: 100 };
  assert.deepEqual(syslog, { ...ports, ...rest });
  assert.deepEqual(await read('{"policy": {"networks": ["10.0.0.0/8", "2001:db8::/32"]}}'), {
    ...defaults,
    policy: { networks: ["10.0.0.0/8", "2001:db8::/32"] },
  });
});

const WRONG: readonly (readonly [text: string, sentence: string])[] = [
  [
    '{"policy": {"networks": ["10.0.0.0"]}}',
    'policy.networks[0] is "10.0.0.0", an address without a prefix length: write it as 10.0.0.0/8, or 10.0.0.0/32 for this one address.',
  ],
  [
    '{"policy": {"networks": ["10.0.0.0/8", "192.168.7.0"]}}',
    'policy.networks[1] is "192.168.7.0", an address without a prefix length: write it as 192.168.7.0/24, or 192.168.7.0/32 for this one address.',
  ],
  [
    '{"policy": {"networks": ["192.168.7.10"]}}',
    'policy.networks[0] is "192.168.7.10", an address without a prefix length: write it as 192.168.7.10/32.',
  ],
  [
    '{"policy": {"networks": ["2001:db8::"]}}',
    'policy.networks[0] is "2001:db8::", an address without a prefix length: write it as 2001:db8::/32, or 2001:db8::/128 for this one address.',
  ],
  [
    '{"policy": {"networks": ["10.0.0.0/33"]}}',
    'policy.networks[0] is "10.0.0.0/33", which is no network: write it as 10.0.0.0/8 or 2001:db8::/32.',
  ],
  [
    '{"policy": {"networks": "10.0.0.0/8"}}',
    'policy.networks must be a list of networks such as ["10.0.0.0/8"].',
  ],
  [
    '{"policy": {"ports": [0]}, "capacity": 0, "drainSeconds": "2"}',
    "capacity must be a whole number from 1 to 256; drainSeconds must be a whole number from 0 to 3600; " +
    "policy.ports[0] must be a whole number from 1 to 65535.",
  ],
  [
    '{"capazity": 1}',
    'the file does not know "capazity": there are capacity, drainSeconds, policy, proxy, caFile, spool and syslog.',
  ],
  [
    '{"policy": {"hosts": []}}',
    'policy does not know "hosts": there are networks, ports, kinds, sessions and fetchedDrivers.',
  ],
  [
    '{"proxy": {"url": "proxy.example.com:3128"}}',
    "proxy.url must be an address such as http://proxy.example.com:3128.",
  ],
  [
    '{"proxy": {"url": "http://u:secret@proxy.example.com:3128"}}',
    "proxy.url must hold no user and no password: write them as proxy.user and proxy.password.",
  ],
  [
    '{"proxy": {"url": "http://p.test", "password": "secret"}}',
    "proxy.user is missing: a password needs a user.",
  ],
  [
    '{"proxy": {"url": "http://p.test", "user": "a:b"}}',
    "proxy.user must not be empty, nor hold a colon.",
  ],
  [
    '{"proxy": {"url": "http://p.test", "noProxy": ["10.0.0.0/99"]}}',
    'proxy.noProxy[0] must be a list such as ["rookery.internal", ".example.com", "10.0.0.0/8"].',
  ],
  [
    '{"proxy": {"adress": "x"}}',
    'proxy.url must be an address such as http://proxy.example.com:3128; proxy does not know "adress": ' +
    "there are url, user, password and noProxy.",
  ],
  ['{"caFile": 7}', "caFile must be the name of a file."],
  [
    '{"policy": {"kinds": ["reboot"]}}',
    "policy.kinds[0] must be a list of kinds of jobs: backup_config, check_reachability, run_commands, " +
    "detect_platform.",
  ],
  ['{"policy": {"sessions": 0}}', "policy.sessions must be a whole number from 1 to 256."],
  ['{"syslog": {}}', 'syslog.sources must be a list of networks such as ["10.0.0.0/8"].'],
  [
    '{"syslog": {"sources": ["10.0.0.1"]}}',
    'syslog.sources[0] must be a list of networks such as ["10.0.0.0/8"].',
  ],
  [
    '{"syslog": {"sources": ["10.0.0.0/8"], "port": 514}}',
    "syslog.port is below 1024, which needs a right of its own: take 1024 or more and let the firewall " +
    "redirect 514 to it, or give the right and set privilegedPort to true.",
  ],
  [
    '{"syslog": {"sources": ["10.0.0.0/8"], "bind": "any"}}',
    'syslog.bind must be an address of this machine, such as "0.0.0.0".',
  ],
  [
    '{"syslog": {"sources": ["10.0.0.0/8"], "udp": false, "tcp": false}}',
    "syslog.udp is false, and tcp too: nothing would be heard.",
  ],
  [
    '{"syslog": {"sources": ["10.0.0.0/8"], "rate": 1}}',
    'syslog does not know "rate": there are bind, port, privilegedPort, udp, tcp, sources and perSecond.',
  ],
  ["[]", "the file must be an object, written { … }."],
];

for (const [text, sentence] of WRONG) {
  Deno.test(`readSettings() refuses ${text} in a plain sentence`, async () => {
    await assert.rejects(read(text), (error: Error) => {
      assert.ok(error instanceof SettingsError);
      assert.equal(error.message.replace(/^Cannot use \S+settings\.json: /, ""), sentence);
      return true;
    });
  });
}

Deno.test("readSettings() says where a file stops being JSON", async () => {
  await assert.rejects(read("{capacity: 1}"), /settings\.json: it is no JSON \(.+\)\./);
});

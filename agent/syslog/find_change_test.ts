import assert from "node:assert/strict";
import { findChange } from "./find_change.ts";
import { parseMessage } from "./parse_message.ts";

/** `[message, host, user]` or, for what is no change, the message alone; as devices and vendors' documents have them. */
type Sample = readonly [message: string, host: string, user: string] | readonly [message: string];

const SAMPLES: Readonly<Record<string, readonly Sample[]>> = {
  // Cisco IOS System Message Guide, SYS-5-CONFIG_I: "Configured from [chars] by [chars]"; the four headers are those of
  // `service timestamps log datetime` with and without msec and year, of `logging origin-id hostname`, and of a relay.
  "Cisco IOS": [
    [
      "<189>123: *Mar  1 18:46:11.123: %SYS-5-CONFIG_I: Configured from console by vty2 (10.34.195.36)",
      "",
      "vty2",
    ],
    [
      "<189>3841: core-1: Jan  2 2006 15:04:05.999 MST: %SYS-5-CONFIG_I: Configured from console by admin on vty0 (192.0.2.1)",
      "core-1",
      "admin",
    ],
    [
      "<189>Nov 26 12:00:00 core-1 88: Nov 26 12:00:00 UTC: %SYS-SW1-5-CONFIG_I: Configured from 192.0.2.9 by snmp",
      "core-1",
      "snmp",
    ],
    [
      "<189>Nov 26 12:00:00 192.0.2.1 88: %SYS-5-CONFIG_I: Configured from console by console",
      "192.0.2.1",
      "console",
    ],
    ["<189>12: *Mar  1 18:46:11: %SYS-5-RESTART: System restarted --"],
    ["<187>13: *Mar  1 18:46:12: %LINK-3-UPDOWN: Interface Gi0/1, changed state to down"],
  ],
  // cisco.com, Configuration Change Notification and Logging.
  "Cisco IOS, archive": [
    [
      "<189>1065116: Sep  1 2026 08:29:26.373: %PARSER-5-CFGLOG_LOGGEDCMD: User:jdoe  logged command:username x secret Hunter2",
      "",
      "jdoe",
    ],
  ],
  // cisco.com, 118907-configure-nx7k-00; the header as napalm-logs describes it.
  "Cisco NX-OS": [
    [
      "<189>2014 Jun 29 19:20:57 Nexus-7000 %VSHD-5-VSHD_SYSLOG_CONFIG_I: Configured from vty by admin on console0",
      "Nexus-7000",
      "admin",
    ],
    [
      "<189>sw01.pdx01: 2017 Jul 28 14:42:46 UTC: %VSHD-5-VSHD_SYSLOG_CONFIG_I: Configured from vty by luke on 172.30.0.1@pts/0",
      "sw01.pdx01",
      "luke",
    ],
    [
      "<189>: 2019 Feb 27 13:23:54 GMT: %VSHD-5-VSHD_SYSLOG_CONFIG_I: Configured from vty by bob on 10.0.1.2@pts/1",
      "",
      "bob",
    ],
    [
      "<190>sw01.pdx01: 2017 Jul 28 14:42:46 UTC: %AUTHPRIV-6-SYSTEM_MSG: session opened for user luke by (uid=0)",
    ],
  ],
  // Cisco IOS XR System Error Message Reference, MGBL.
  "Cisco IOS-XR": [
    [
      "<189>354: xr1 RP/0/RP0/CPU0:Jul 17 16:46:21.568 UTC: config[67444]: %MGBL-SYS-5-CONFIG_I : Configured from console by cisco on vty0 (10.209.200.69)",
      "xr1",
      "cisco",
    ],
    [
      "<190>355: RP/0/RP0/CPU0:Sep 25 23:27:22.691 UTC: config[67726]: %MGBL-CONFIG-6-DB_COMMIT : Configuration committed by user 'anne'. Use 'show configuration commit changes 1000000005' to view the changes.",
      "",
      "anne",
    ],
  ],
  // Cisco Secure Firewall ASA Series Syslog Messages, 111008 and 111010. The last three are what a backup itself sends.
  "Cisco ASA": [
    [
      "<165>Oct 06 2021 15:02:30 10.160.0.10 : %ASA-5-111010: User 'enable_15', running 'CLI' from IP 192.0.2.12, executed 'no logging message 304001'",
      "10.160.0.10",
      "enable_15",
    ],
    [
      "<165>Oct 06 2021 15:02:30: %ASA-5-111008: User 'alice' executed the 'username bob password Hunter2' command.",
      "",
      "alice",
    ],
    [
      "<165>%ASA-5-111010: User 'pgskyadm', running 'CLI' from IP 143.16.64.46, executed 'terminal pager 0'",
    ],
    ["<165>%ASA-5-111008: User 'pgskyadm' executed the 'enable' command."],
    ["<165>%ASA-5-111008: User 'pgskyadm' executed the 'more system:running-config' command."],
  ],
  // juniper.net, System Log Messages, UI; the structured one by `structured-data`, RFC 5424.
  "Juniper Junos": [
    [
      "<189>Jan 11 20:59:31  vmx3 mgd[56789]: UI_COMMIT: User 'root' requested 'commit' operation (comment: none)",
      "vmx3",
      "root",
    ],
    ["<188>Jan 11 20:59:36 vmx3 mgd[56789]: UI_COMMIT_COMPLETED: commit complete", "vmx3", ""],
    [
      '<189>1 2019-09-16T08:55:12.123Z vmx3 mgd 9412 UI_COMMIT [junos@2636.1.1.1.2.29 username="anna" command="commit" message="none"] User \'anna\' requested \'commit\' operation',
      "vmx3",
      "anna",
    ],
    ["<189>Jan 11 20:59:31 vmx3 mgd[5]: UI_COMMIT_PROGRESS: Commit operation in progress: done"],
    [
      "<189>Jan 11 20:59:31 vmx3 mgd[5]: UI_COMMIT: User 'root' requested 'commit check' operation (comment: none)",
    ],
    [
      "<189>Jan 11 20:59:31 vmx3 mgd[5]: UI_DBASE_LOGIN_EVENT: User 'root' entering configuration mode",
    ],
  ],
  // Messages of EOS's ConfigAgent.
  "Arista EOS": [
    [
      "<149>Apr 25 09:29:27 P1 ConfigAgent: %SYS-5-CONFIG_SESSION_COMMIT_SUCCESS: User cvpadmin committed configuration session CVP-configtask-1 successfully on TerminAttr (localhost)",
      "P1",
      "cvpadmin",
    ],
    [
      "<149>May  9 12:00:00 switch ConfigAgent: %SYS-5-CONFIG_I: Configured from console by charlie on vty1 (198.18.0.7)",
      "switch",
      "charlie",
    ],
    ["<149>Apr 25 09:29:15 P1 ConfigAgent: %SYS-5-CONFIG_SESSION_EXITED: User cvpadmin exited"],
    ["<149>Apr 25 09:29:15 P1 ConfigAgent: %SYS-5-CONFIG_E: Enter configuration mode from console"],
  ],
  // community.fortinet.com, 387138, with the devname that FortiOS puts first.
  "Fortinet FortiOS": [
    [
      '<189>date=2025-04-10 time=05:03:10 devname="fw-1" devid="FG1" logid="0100044547" type="event" subtype="system" level="information" vd="root" logdesc="Object attribute configured" user="admin" ui="GUI(10.32.22.115)" action="Edit" cfgtid=126746709 cfgpath="firewall.policy" cfgobj="8" cfgattr="password[Hunter2]" msg="Edit firewall.policy 8"',
      "fw-1",
      "admin",
    ],
    [
      '<189>date=2025-04-10 time=05:03:10 devname="fw-1" logid="0100044546" type="event" subtype="system" logdesc="Attribute configured" user="backup" action="Edit" cfgpath="system.console" cfgattr="output[more->standard]"',
    ],
    ['<189>date=2025-04-10 devname="fw-1" logid="0100032001" type="event" user="admin" msg="x"'],
  ],
  // docs.paloaltonetworks.com, Config Log Fields; cloud.google.com, Audit logs of the Palo Alto firewall.
  "Palo Alto PAN-OS": [
    [
      "<14>Nov 22 12:11:34 zb-aa-fw01 1,2022/11/22 12:11:33,012501009150,CONFIG,0,2561,2022/11/22 12:11:33,10.251.72.79,,commit,admin,Web,Submitted,,7168767370163388448,0x0,0,0,0,0,,zb-aa-fw01,0,,0,2022-11-22T12:11:34.635-08:00",
      "zb-aa-fw01",
      "admin",
    ],
    [
      "<14>2022-11-22T12:03:55-08:00 fw02 1,2022/11/22 12:11:33,0125,CONFIG,0,2561,2022/11/22 12:11:33,10.1.2.3,vsys1,set,admin,Web,Succeeded, vsys,7168,0x0",
    ],
    ["<14>Nov 22 12:11:34 fw01 1,2022/11/22 12:11:33,0125,SYSTEM,general,0,commit,admin"],
  ],
  // help.mikrotik.com, Log; the last with the command that newer versions add.
  "MikroTik RouterOS": [
    ["system,info mangle rule changed by admin", "", "admin"],
    ["<30>Nov 26 12:35:34 edge-7 mangle rule added by admin", "edge-7", "admin"],
    [
      "<30>Nov 26 12:35:34 edge-7 user changed by winbox:ops@192.0.2.7 (/user set 1 password=Hunter2)",
      "edge-7",
      "ops",
    ],
    ["system,info,account user admin logged in from 10.1.101.212 via winbox"],
  ],
  // support.huawei.com, NE8000 Log Reference, and what a VRP prints at `save`.
  "Huawei VRP": [
    [
      "<188>Mar 12 2019 19:12:18-08:00 Huawei %%01CFM/4/SAVE(l)[0]:The user chose Y when deciding whether to save the configuration to the device.",
      "Huawei",
      "",
    ],
    [
      '<190>2021-08-19 15:50:12 ne8000 %%01CONFIGURATION/6/CFG_FILE_CHANGE(l):VS=0-CID=1; Configuration file was changed. (LogIndex=3, SrcCmd=1, TerUser="ops", SrcAddr=192.0.2.7)',
      "ne8000",
      "ops",
    ],
    [
      "<190>Aug 19 2021 15:50:12 ne8000 %%01CONFIGURATION/6/NETCONF_CONFIG_CHANGE_EVENT(l): The configuration changed. (Internal change =0, User name =anna, Session ID =7)",
      "ne8000",
      "anna",
    ],
    ["<190>Aug 19 2021 15:50:12 ne8000 %%01NTP/4/STRATUM_CHANGE(l)[1]:System stratum changes"],
  ],
  // H3C, System Log Messages, CFGMAN.
  "HPE Comware": [
    [
      "<189>Jan  1 07:30:19:542 2000 Sysname %%10CFGMAN/5/CFGMAN_CFGCHANGED: -EventIndex=12-CommandSource=2-ConfigSource=4-ConfigDestination=2; Configuration changed.",
      "Sysname",
      "",
    ],
    [
      "<189>Jan  1 07:30:20:541 2000 Sysname %%10CFGMAN/5/CFGMAN_EXIT_FROM_CONFIGURE: -Line=vty0-IPAddr=192.0.2.7-User=ops; Exit from the system view.",
      "Sysname",
      "ops",
    ],
    ["<190>Jan  1 07:30:20:541 2000 Sysname %%10SHELL/6/SHELL_CMD: -Line=vty0; Command is display"],
  ],
  // As Oxidized's syslogmonitor reads it (extra/syslog.rb).
  "HPE Aruba": [
    [
      "<190>Nov 26 12:00:00 192.0.2.40 00000 ACCT: Notice-Type='Running Config Change' Event-ID='3361' User-Name='manager' Remote-IP-Address='192.0.2.7'",
      "192.0.2.40",
      "manager",
    ],
  ],
};

const encoder = new TextEncoder();

for (const [vendor, samples] of Object.entries(SAMPLES)) {
  Deno.test(`findChange() knows the changes of ${vendor}, who made them, and nothing else`, () => {
    for (const [message, host, user] of samples) {
      const found = findChange(parseMessage(encoder.encode(message)));
      const seen = found && [found.host, found.user];
      assert.deepEqual(seen, host === undefined ? undefined : [host, user], message);
      // What was typed may hold a password.
      assert.ok(!found?.text.includes("Hunter2"), found?.text);
    }
  });
}

Deno.test("findChange() makes hostile text harmless to show, and keeps it short", () => {
  const message = `<189>x %SYS-5-CONFIG_I: Configured from console by a\u202e\u001b[2J\0b on ${
    "y".repeat(2_000)
  }`;
  const found = findChange(parseMessage(encoder.encode(message)));
  assert.equal(found?.user, "a\ufffd\ufffd[2J\ufffdb");
  assert.equal(found?.text.length, 500);
  const broken = new Uint8Array([...encoder.encode("%SYS-5-CONFIG_I: \ud83e "), 0xff, 0xfe, 0xf0]);
  assert.ok(findChange(parseMessage(broken))?.text.isWellFormed());
});

Deno.test("findChange() takes a time that grows with the length and no faster", () => {
  const hard = [
    "Configured from ".repeat(600),
    ",CONFIG,".repeat(1_000),
    "User name =".repeat(900),
    `5-CONFIG_I ${"by ".repeat(3_000)}`,
    `ed by ${"added ".repeat(1_500)}`,
    `UI_COMMIT username="${"User '".repeat(1_300)}`,
    `<189>1 ${" ".repeat(8_000)}`,
    `<189>${"1".repeat(8_000)}`,
    "a".repeat(8_192),
    "Jan  1 00:00:00 ".repeat(500),
  ].map((text) => encoder.encode(text));
  const startedAt = performance.now();
  for (let round = 0; round < 20; round++) {
    for (const bytes of hard) findChange(parseMessage(bytes));
  }
  // 200 of the worst of 8 KiB: some 10 ms each at the very most on a machine that does other things.
  assert.ok(performance.now() - startedAt < 2_000, `${performance.now() - startedAt} ms`);
});

import { driver } from "./driver.ts";

export const cisco_iosxe = driver({
  platform: "cisco_iosxe",
  label: "Cisco IOS XE",
  evidence: {
    kind: "vendor_document",
    link:
      "https://www.cisco.com/c/en/us/td/docs/ios-xml/ios/fundamentals/command/cf_command_ref/show_protocols_through_showmon.html",
  },
  transport: "shell",
  modes: {
    user: { prompt: /^[\w.@:\/\-]{1,63}>\s?$/ },
    enable: {
      prompt: /^[\w.@:\/\-]{1,63}#\s?$/,
      entries: [{
        from: "user",
        send: "enable",
        question: /^(?:[\w.@:\/\-]{1,63} )?[Pp]assword:\s?$/,
        answer: "enableSecret",
      }],
    },
  },
  captureMode: "enable",
  dialogues: [
    {
      pattern: /initial configuration dialog\? \[yes\/no\]:\s*$/,
      answer: "no\n",
      why: "a box without a start-up configuration offers its set-up dialogue before the prompt",
    },
  ],
  opening: [
    { send: "terminal length 0", mayFail: true },
    { send: "terminal width 512", mayFail: true },
  ],
  captures: [{
    name: "running",
    // A role-based view may be refused the plain command and be allowed the full view.
    commands: ["show running-config", "show running-config view full"],
    begin: /^Current configuration ?:/,
    end: { grade: "marker", line: /^end\s*$/ },
    minimum: { lines: 5, sections: [/^version \d/, /^hostname \S/] },
  }],
  facts: [
    {
      command: "show version",
      fields: [
        { name: "osVersion", pattern: /^Cisco IOS.* Software.*, Version ([^\s,]+)/ },
        { name: "model", pattern: /^[Cc]isco (\S+) \(.+\) processor/ },
        { name: "serialNumber", pattern: /^Processor board ID (\S+)/ },
        { name: "hostname", pattern: /^(\S+) uptime is / },
        { name: "uptime", pattern: /^\S+ uptime is (.+)$/ },
      ],
    },
    {
      command: "show running-config",
      fields: [
        { name: "lastChangedBy", pattern: /^! Last configuration change at .{1,60} by (\S+)/ },
      ],
    },
  ],
  failures: [
    {
      pattern: /^% ?(?:Invalid|Incomplete|Ambiguous|Unknown|Unrecognized) (?:input|command)/,
      code: "command_rejected",
    },
    { pattern: /^(?:% ?)?Command authorization failed/, code: "command_rejected" },
    { pattern: /^% ?Permission denied/, code: "command_rejected" },
    { pattern: /^Line has invalid autocommand/, code: "command_rejected" },
    { pattern: /^% ?Configuration buffer full/, code: "transient_text", anywhere: true },
    { pattern: /Non-Volatile memory is in use/, code: "transient_text" },
    { pattern: /^% ?Connection limit/, code: "device_busy" },
  ],
  noise: [
    {
      line:
        /(?:[A-Z][a-z]{2} +\d{1,2} (?:\d{4} )?\d\d:\d\d:\d\d|\d+[wdy]\d+[dhw]|\d\d:\d\d:\d\d)[^%"]{0,20}: %[A-Z][A-Z0-9_]+-(?:[A-Z0-9_]+-)?[0-7]-[A-Z0-9_]+: /,
      why: "log messages come into sessions with terminal monitor and cut lines in two",
    },
  ],
  volatile: [
    { line: /^Building configuration\.\.\.$/, why: "the device talking while it works" },
    { line: /^Current configuration ?: \d+ bytes/, why: "the size follows the other lines" },
    { line: /^! Last configuration change at /, why: "a time that changes without the text" },
    { line: /^! NVRAM config last updated at /, why: "a time that changes without the text" },
    { line: /^! No configuration change since /, why: "a time that changes without the text" },
    { line: /^ntp clock-period /, why: "recomputed by the NTP process all the time" },
  ],
  secrets: [
    { line: /^snmp-server community (?<secret>\S+)/, why: "an SNMP community is a password" },
    {
      line:
        /^snmp-server host \S+ (?:vrf \S+ )?(?:(?:informs|traps) )?(?:version (?:1|2c|3 (?:auth|noauth|priv)) )?(?<secret>\S+)/,
      why: "the community or user towards a trap receiver is a password",
    },
    {
      line: /^snmp-server user .*?\bauth (?:md5|sha\S*(?: \d+)?) (?<secret>\S+)/,
      why: "the authentication password of an SNMPv3 user",
    },
    {
      line: /^snmp-server user .*?\bpriv (?:des|3des|aes) (?:\d+ )?(?<secret>\S+)/,
      why: "the privacy password of an SNMPv3 user",
    },
    {
      line: /\b(?:password|secret) (?:level \d+ )?(?:\d+ )?(?<secret>\S+)/,
      why: "passwords of users, lines, neighbours and of enable, in clear or hashed",
    },
    {
      line: /(?<!digest-|authentication-)\bkey \d (?<secret>\S+)/,
      why: "type 0, 6 and 7 keys of servers and peers",
    },
    {
      line: /^(?:tacacs|radius)-server .*?\bkey (?:\d )?(?<secret>\S+)/,
      why: "the key shared with a TACACS+ or RADIUS server",
    },
    {
      line: /\b(?:server-key|key-string|hex-key) (?:\d )?(?<secret>\S+)/,
      why: "keys of key chains, of RADIUS clients and of MACsec",
    },
    {
      line: /^crypto isakmp key (?:\d )?(?<secret>\S+)/,
      why: "an IKEv1 pre-shared key",
    },
    {
      line: /\bpre-shared-key (?:(?:local|remote|hex) )?(?:\d )?(?<secret>\S+)/,
      why: "an IKEv2 pre-shared key",
    },
    {
      line: /\b(?:authentication-key|message-digest-key) (?:\d+ md5 )?(?:\d )?(?<secret>\S+)/,
      why: "OSPF and NTP authentication keys",
    },
    {
      line:
        /^\s*(?:standby|vrrp|glbp) \d+ authentication (?:(?:text|md5 key-string) )?(?:\d )?(?<secret>\S+)/,
      why: "authentication of first-hop redundancy",
    },
    { line: /\bnhrp authentication (?<secret>\S+)/, why: "the authentication string of NHRP" },
    { line: /\bwpa-psk (?:ascii|hex) (?:\d )?(?<secret>\S+)/, why: "a wireless pre-shared key" },
  ],
  logout: ["exit"],
  restore:
    "Copy the text to the device and run: configure replace <url>, or paste it in configuration mode.",
});

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
  clues: [
    {
      command: "show version",
      line: /^Cisco IOS(?:[ -]XE)? Software\b/,
      sure: "certain",
      why: "the software names itself in the first lines of show version",
    },
    {
      ident: /^SSH-(?:2\.0|1\.99)-Cisco-/,
      sure: "possible",
      why: "the SSH server of IOS and IOS XE, and of other Cisco software",
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
  // `[05-9] ` before a value is its type: in clear, hashed or encrypted. Values in clear may hold blanks.
  secrets: [
    {
      line: /^snmp-server community (?:[067] (?!RO\b|RW\b|view\b|ipv6\b))?(?<secret>\S+)/,
      why: "an SNMP community is a password",
    },
    { line: /^snmp mib community-map (?<secret>\S+)/, why: "an SNMP community is a password" },
    {
      line:
        /^snmp-server host \S+ (?:vrf \S+ )?(?:(?:informs|traps) )?(?:version (?:1|2c|3 (?:auth|noauth|priv)) )?(?:[067] (?=\S))?(?<secret>\S+)/,
      why: "the community or user towards a trap receiver is a password",
    },
    {
      line:
        /^snmp-server user .*?\bauth (?:md5|sha(?:-2)?(?: (?:224|256|384|512))?) (?:[067] )?(?<secret>\S+)/,
      why: "the authentication password of an SNMPv3 user",
    },
    {
      line:
        /^snmp-server user .*?\bpriv (?:des|3des|aes(?: (?:128|192|256))?) (?:[067] )?(?<secret>\S+)/,
      why: "the privacy password of an SNMPv3 user",
    },
    {
      line:
        /\b(?:password|secret|passphrase) (?!(?:encryption|required|default|none|peer|option|rollover|fallback|policy|key-chain)\b)(?:level \d+ )?(?:[05-9] )?(?<secret>\S.*)$/,
      why: "passwords of users, lines, neighbours and of enable, in clear or hashed",
    },
    {
      line:
        /\bpassword (?:option \d+ for \S+|fallback|peer \S+) (?!key-chain )(?:[05-9] )?(?<secret>\S+)/,
      why: "passwords of LDP and MSDP sessions",
    },
    {
      line: /^ +key (?!\d{1,3}$)(?:[05-9] )?(?<secret>\S.*)$/,
      why:
        "the key of a RADIUS or TACACS+ server or of a VPN group; a short number is one of a key chain",
    },
    {
      line: /^(?!ntp (?:server|peer) ).*(?<!digest-|authentication-)\bkey [05-9] (?<secret>\S+)/,
      why: "keys of servers and peers that name their type",
    },
    {
      line: /^(?:tacacs|radius)-server .*?\bkey (?:\d )?(?<secret>\S.*)$/,
      why: "the key shared with a TACACS+ or RADIUS server",
    },
    {
      line:
        /^\s*(?:server-private|client|group|map-server|etr map-server|ipv[46] etr map-server) \S+ (?:.*?\b)?key (?:[05-9] )?(?<secret>\S+)/,
      why: "keys of private servers, of change-of-authorization clients, of VPN groups and of LISP",
    },
    {
      line:
        /\b(?:server-key|key-string|hex-key|hash-key|pac key|sap pmk|static-wep-key) (?:[05-9] )?(?<secret>\S.*)$/,
      why: "keys of key chains, of RADIUS clients, of MACsec and of wireless networks",
    },
    {
      line: /^crypto isakmp key (?:[05-9] )?(?<secret>\S+)/,
      why: "an IKEv1 pre-shared key",
    },
    {
      line: /\bpre-shared?(?:-key)? (?:[^"]{0,120}? )?key (?:[05-9] )?(?<secret>\S+)/,
      why: "pre-shared keys in keyrings and IKEv2 profiles",
    },
    {
      line:
        /\bpre-shared-key (?!address |hostname )(?:(?:local|remote) )?(?:hex )?(?:[05-9] )?(?<secret>\S+)/,
      why: "an IKEv2 pre-shared key",
    },
    {
      line:
        /\b(?:authentication-key|message-digest-key) (?:\d+ (?:md5|sha\S*|hmac-\S+|cmac-\S+) )?(?:[05-9] )?(?<secret>\S+)/,
      why: "OSPF, LISP and NTP authentication keys",
    },
    {
      line:
        /\bipsec spi \d+ esp (?:des|3des|aes-cbc(?: \d+)?) (?:[05-9] )?(?<secret>[0-9A-Za-z]{6,})/,
      why: "encryption keys of OSPFv3",
    },
    {
      line:
        /\bipsec spi \d+ (?:esp .{0,160}?)?\b(?:md5|sha1) (?:[05-9] )?(?<secret>[0-9A-Za-z]{6,})/,
      why: "authentication keys of OSPFv3",
    },
    {
      line: /\bauthentication mode hmac-sha-256 (?:[05-9] )?(?<secret>\S+)/,
      why: "EIGRP authentication keys",
    },
    {
      line:
        /^\s*(?:standby|vrrp|glbp)(?: \d+)? authentication (?!md5 key-chain )(?:(?:text|md5 key-string) )?(?:[05-9] )?(?<secret>\S+)/,
      why: "authentication of first-hop redundancy",
    },
    {
      line: /\bauthentication (?:text|key) (?:[05-9] )?(?<secret>\S+)/,
      why: "authentication texts of redundancy groups and of RSVP",
    },
    { line: /\bnhrp authentication (?<secret>\S+)/, why: "the authentication string of NHRP" },
    {
      line: /^ip mobile .*\bkey (?:hex|ascii) (?<secret>\S+)/,
      why: "the security association of Mobile IP",
    },
    {
      line: /\b(?:wpa-psk|set-key|static-wep-key .{0,60}?) (?:ascii|hex) (?:\d )?(?<secret>\S.*)$/,
      why: "a wireless pre-shared key",
    },
    {
      line: /^\s*encryption (?:vlan \d+ )?key \d+ size \S+ (?:\d )?(?<secret>\S+)/,
      why: "a WEP key of an access point",
    },
    { line: /^\s*set session-key \S+ ah \d+ (?<secret>\S+)/, why: "a manual IPsec key" },
    { line: /^\s*set session-key \S+ esp \d+ cipher (?<secret>\S+)/, why: "a manual IPsec key" },
    {
      line: /^\s*set session-key .*\bauthenticator (?<secret>\S+)/,
      why: "a manual IPsec key",
    },
    {
      line: /^mab request format attribute 2 (?:[05-9] )?(?<secret>\S+)/,
      why: "the password that stands for a device without one",
    },
    { line: /\bmail-server "?[^\s:@]+:(?<secret>[^\s@]+)@/, why: "the login of a mail server" },
    {
      line: /^event manager environment \S*(?i:pw|pass|secret|key|token)\S* (?<secret>\S.*)$/,
      why: "variables of applets that are named like a secret",
    },
    { line: /^\s+(?:token|api-key) (?:[05-9] )?(?<secret>\S+)/, why: "tokens of cloud services" },
  ],
  logout: ["exit"],
  restore:
    "Copy what stands below the line Current configuration to the device and run: configure replace <url>, or paste it in configuration mode.",
});

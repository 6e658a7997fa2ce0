import { driver } from "./driver.ts";

export const frr = driver({
  platform: "frr",
  label: "FRRouting (vtysh)",
  evidence: { kind: "vendor_document", link: "https://docs.frrouting.org/en/latest/vtysh.html" },
  transport: "shell",
  modes: {
    user: { prompt: /^[\w.\-]{1,64}>\s?$/ },
    enable: {
      prompt: /^[\w.\-]{1,64}#\s?$/,
      entries: [{
        from: "user",
        send: "enable",
        question: /^Password:\s?$/,
        answer: "enableSecret",
      }],
    },
  },
  captureMode: "enable",
  opening: [{ send: "terminal length 0", mayFail: true }],
  captures: [{
    name: "running",
    commands: ["show running-config"],
    begin: /^Current configuration:/,
    end: { grade: "marker", line: /^end\s*$/ },
    minimum: { lines: 4, sections: [/^frr version \S/] },
  }],
  facts: [{
    command: "show version",
    fields: [
      { name: "osVersion", pattern: /^FRRouting (\S+)/ },
      { name: "hostname", pattern: /^FRRouting \S+ \(([^)\s]+)\)/ },
    ],
  }],
  clues: [{
    command: "show version",
    line: /^FRRouting \S/,
    sure: "certain",
    why: "vtysh names the program in the first line of show version",
  }],
  failures: [
    {
      pattern:
        /^% ?(?:Unknown command|Command incomplete|Ambiguous command|There is no matched command)/,
      code: "command_rejected",
    },
    { pattern: /^% ?Connection limit/, code: "device_busy" },
    // vtysh goes on with the other daemons: the sections of this one are missing.
    {
      pattern: /^Warning: closing connection to \S+ because of an I\/O error/,
      code: "transient_text",
      anywhere: true,
    },
  ],
  volatile: [
    { line: /^Building configuration\.\.\.$/, why: "the device talking while it works" },
    { line: /^! Last Changed: /, why: "a time that changes without the text" },
  ],
  secrets: [
    {
      line: /(?:^|[ \-])password (?:clear |md5 |[78] )?(?<secret>\S.*)$/,
      why:
        "passwords of the vty, of enable, users, BGP and MSDP neighbours and IS-IS areas, in clear or hashed",
    },
    {
      line:
        /\b(?:authentication-key|message-digest-key \d+ md5|authentication string|tcp-md5-auth|nhrp authentication) (?<secret>\S.*)$/,
      why: "OSPF, RIP, LDP and NHRP authentication keys",
    },
    { line: /\bhash-algo \S+ key (?<secret>\S.*)$/, why: "OSPFv3 authentication keys" },
    { line: /^\s*key-string (?<secret>\S.*)$/, why: "keys of key chains" },
  ],
  logout: ["exit"],
  restore:
    "Copy what stands below the line Current configuration to /etc/frr/frr.conf on the host and run: systemctl reload frr.",
});

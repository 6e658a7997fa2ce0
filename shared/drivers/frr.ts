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
      line: /^(?:enable )?password (?:8 )?(?<secret>\S+)/,
      why: "the vty password and the enable password, in clear or hashed",
    },
    {
      line: /^ *neighbor \S+ password (?<secret>\S+)/,
      why: "the TCP MD5 password of a BGP neighbour",
    },
    {
      line: /\b(?:isis password|area-password|domain-password) (?:clear|md5) (?<secret>\S+)/,
      why: "IS-IS authentication passwords",
    },
    {
      line:
        /\b(?:authentication-key|message-digest-key \d+ md5|authentication string) (?<secret>\S+)/,
      why: "OSPF and RIP authentication keys",
    },
    { line: /^ *key-string (?<secret>\S+)/, why: "keys of key chains" },
  ],
  logout: ["exit"],
  restore: "Copy the text to /etc/frr/frr.conf on the host and run: systemctl reload frr.",
});

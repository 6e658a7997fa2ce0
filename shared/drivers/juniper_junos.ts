import { driver } from "./driver.ts";

export const juniper_junos = driver({
  platform: "juniper_junos",
  label: "Juniper Junos",
  evidence: {
    kind: "vendor_document",
    link:
      "https://www.juniper.net/documentation/us/en/software/junos/cli/topics/topic-map/cli-configuration-viewing.html",
  },
  transport: "exec",
  captures: [{
    name: "running",
    // Sections marked `apply-flags omit` are hidden from the plain command.
    commands: ["show configuration | display omit", "show configuration"],
    // The text has no end tag, so its braces must close (a shell cannot help either: exec has no prompt).
    end: { grade: "structure", syntax: "braces" },
    minimum: { lines: 5, sections: [/^version \S/, /^system \{/] },
  }],
  facts: [
    {
      command: "show version",
      fields: [
        { name: "hostname", pattern: /^Hostname: (\S+)/ },
        { name: "model", pattern: /^Model: (\S+)/ },
        { name: "osVersion", pattern: /^Junos: (\S+)/ },
      ],
    },
    {
      command: "show chassis hardware",
      fields: [{ name: "serialNumber", pattern: /^Chassis\s+(\S+)/ }],
    },
    {
      command: "show configuration | display omit",
      fields: [{ name: "lastChangedBy", pattern: /^## Last commit: .{1,60} by (\S+)/ }],
    },
  ],
  clues: [{
    command: "show version",
    line: /^(?:Junos: \S|JUNOS (?:Base|OS|Software) )/,
    sure: "certain",
    why: "the software names itself in show version",
  }],
  failures: [
    { pattern: /^(?:error: )?(?:unknown command|syntax error)/, code: "command_rejected" },
    { pattern: /^error: permission denied/, code: "command_rejected" },
    { pattern: /^error: the .+ subsystem is not running/, code: "transient_text" },
    {
      pattern: /^error: (?:configuration database locked|abnormal communication)/,
      code: "transient_text",
    },
    { pattern: /^error: could not connect to /, code: "transient_text" },
    { pattern: /^error: /, code: "command_failed", anywhere: true },
    // What the permissions of the login class hide is replaced by this, and the text ends in good order.
    { pattern: /\/\* ACCESS-DENIED \*\//, code: "configuration_hidden", anywhere: true },
  ],
  volatile: [
    { line: /^## Last commit: /, why: "changes at every commit, also of an unchanged text" },
    { line: /^## Last changed: /, why: "a time that changes without the text" },
    {
      line: /^\{(?:master|backup|primary|secondary|linecard)(?::(?:node)?\d+)?\}$/,
      why: "the role of the routing engine changes by a switch-over",
    },
  ],
  secrets: [
    {
      line: /"(?<secret>[^"]+)";\s*## SECRET-DATA/,
      why: "Junos marks every line that carries a secret",
    },
    {
      line: /(?<=\s)(?<secret>[^"\s;]+);\s*## SECRET-DATA/,
      why: "Junos marks every line that carries a secret",
    },
    {
      line:
        /^\s*(?:set (?:\S+ )*?snmp )?community (?:"(?<secret>[^"]+)"|(?<secret>[^"\s;]+))(?: \{| authorization| clients?\b| view\b)/,
      why: "an SNMP community is a password and is not marked as one",
    },
    {
      line: /^(?: {4}| {12})community (?:"(?<secret>[^"]+)"|(?<secret>[^"\s;]+));/,
      why: "an SNMP community without options, by its place; those of policies stand elsewhere",
    },
    {
      line:
        /\b(?:community-name|secret|(?:plain-text-|encrypted-)?password(?:-value)?|(?:authentication|privacy)-(?:key|password)(?: \d+)?(?: type \S+ value)?|pre-shared-key (?:ascii-text|hexadecimal)|simple-password|(?:md5 \d+ )?key (?:ascii-text|hexadecimal)|md5 \d+ key|cak) (?:"(?<secret>[^"*][^"]*)"|(?<secret>[^"\s;{*\]][^"\s;]*))(?=;|\s|$)/,
      why: "secrets whose mark was cut off or which an old release did not mark",
    },
  ],
  restore:
    "Copy the text to the device and run: load override <file>, then commit check and commit.",
});

import { driver } from "./driver.ts";

/**
 * One command line, so that one exit status covers all files. It runs in any POSIX shell (dash, busybox):
 * a header per file, the file, a line feed for files that end without one, and the end marker. A file that
 * this user may not read is named, never left out in silence; a failing `cat` fails the command.
 */
const READ_FILES = [
  "for f in /etc/hostname /etc/hosts /etc/fstab /etc/network/interfaces /etc/network/interfaces.d/*",
  "/etc/systemd/network/* /etc/netplan/*.yaml /etc/sysctl.conf /etc/sysctl.d/*.conf /etc/nftables.conf",
  "/etc/wireguard/*.conf /etc/frr/frr.conf /etc/ssh/sshd_config;",
  'do [ -f "$f" ] || continue;',
  'if [ -r "$f" ]; then echo "### $f"; cat "$f" || exit 1; echo;',
  'else echo "### $f (not readable)"; fi; done; echo "### end"',
].join(" ");

export const linux = driver({
  platform: "linux",
  label: "Linux host",
  evidence: {
    kind: "vendor_document",
    link: "https://pubs.opengroup.org/onlinepubs/9699919799/utilities/sh.html",
  },
  transport: "exec",
  captures: [{
    name: "running",
    commands: [READ_FILES],
    begin: /^### \//,
    end: { grade: "marker", line: /^### end$/ },
    minimum: { lines: 3, sections: [/^### \/etc\//] },
  }],
  facts: [
    {
      command: "cat /etc/os-release",
      fields: [{ name: "osVersion", pattern: /^PRETTY_NAME="?([^"]+)"?$/ }],
    },
    { command: "uname -n", fields: [{ name: "hostname", pattern: /^(\S+)$/ }] },
  ],
  failures: [],
  volatile: [],
  secrets: [
    {
      line: /^\s*(?:PrivateKey|PresharedKey)\s*=\s*(?<secret>\S+)/,
      why: "WireGuard keys in wg-quick and systemd-networkd files",
    },
    {
      line: /^\s*(?:wpa-(?:psk|password|passphrase)|wireless-key\S*)\s+(?<secret>\S.*)$/,
      why: "wireless passwords in /etc/network/interfaces",
    },
    {
      line: /^\s*(?:-\s+)?["']?(?:password|psk|secret)["']?\s*[:=]\s*(?<secret>\S.*)$/,
      why: "passwords in netplan and key-value files",
    },
    { line: /^\s*(?:enable )?password (?:8 )?(?<secret>\S+)/, why: "passwords in frr.conf" },
    {
      line: /\b(?:username|password|credentials)=(?<secret>[^,\s]+)/,
      why: "mount options of network file systems in /etc/fstab",
    },
  ],
  restore:
    "Copy each section back to the file that its header names, then restart the service concerned.",
});

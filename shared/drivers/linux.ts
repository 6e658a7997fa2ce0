import { driver } from "./driver.ts";
import { frr } from "./frr.ts";

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
  clues: [
    {
      command: "uname -a",
      line: /^Linux \S+ \d/,
      sure: "likely",
      why: "the kernel names itself; network systems that are built on Linux do so as well",
    },
    {
      ident: /^SSH-2\.0-(?:OpenSSH|dropbear)_/,
      sure: "possible",
      why: "the SSH servers of Linux hosts, and of many network systems",
    },
  ],
  failures: [],
  volatile: [],
  secrets: [
    {
      line:
        /^\s*(?:[#;]\s*)?(?:-\s+)?(?i:["']?[\w.\-]*(?:password|passwd|passphrase|psk|secret|private-?key|pre-?shared-?key|fastopen_key)\d?["']?\s*[:=]\s*(?<secret>[^\s>|].*)$)/,
      why: "passwords and keys in netplan, systemd, WireGuard, sysctl and other key-value files",
    },
    {
      from:
        /^\s*(?i:["']?[\w.\-]*(?:password|passwd|passphrase|psk|secret|key)["']?\s*:\s*[>|][+\-\d]*\s*$)/,
      to: /^\s*(?:-\s+)?["']?[\w.\-]+["']?\s*:/,
      why: "a YAML value that goes on in the next lines",
    },
    {
      line:
        /[{,]\s*(?i:["']?[\w\-]*(?:password|passphrase|psk|secret|key|private|shared)["']?\s*:\s*(?<secret>[^,}]+))/,
      why: "passwords and keys in YAML that is written on one line",
    },
    {
      line: /^\s*(?i:key|private|shared)\s*[:=]\s*(?<secret>[^\s{].*)$/,
      why: "WireGuard keys in netplan, MACsec keys in systemd-networkd",
    },
    {
      line: /^\s*(?:PostUp|PreUp|PostDown|PreDown)\s*=.*?(?<secret>[A-Za-z0-9+\/]{43}=)/,
      why: "keys that wg-quick hands to wg",
    },
    {
      line: /^\s*(?:wpa-\S*(?:psk|pass\w*)|wireless-key\S*)\s+(?<secret>\S.*)$/,
      why: "wireless passwords in /etc/network/interfaces",
    },
    {
      line: /[\s,](?:username|password2?|passwd|pass|secret)=(?<secret>[^,\s]+)/,
      why: "mount options of network file systems in /etc/fstab",
    },
    {
      line: /[\s,]user(?:name)?=[^%,\s]+%(?<secret>[^,\s]+)/,
      why: "a user with its password in one mount option",
    },
    // /etc/frr/frr.conf is one of the files.
    ...frr.secrets,
  ],
  restore:
    "Copy each section back to the file that its header names, then restart the service concerned.",
});

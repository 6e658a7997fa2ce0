import { describe } from "./descriptions.ts";
import type { Draft, DraftedRecording } from "./recording.ts";

/** A made-up Debian host, as the one command of the Linux driver shows it. */
export function makeLinuxRecording(draft: Draft): DraftedRecording {
  const { hostname } = draft;
  const files: [string, string[]][] = [
    ["/etc/hostname", [hostname]],
    ["/etc/hosts", ["127.0.0.1 localhost", `127.0.1.1 ${hostname}`]],
    ["/etc/fstab", fstab(draft)],
    ["/etc/network/interfaces", interfaces(draft)],
    ["/etc/wireguard/wg0.conf", wireguard(draft)],
  ];
  return {
    banner: "",
    configuration: files.map(([path, lines]) => `### ${path}\n${lines.join("\n")}\n\n`).join("") +
      "### end\n",
    outputs: new Map([
      ["cat /etc/os-release", 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\n'],
      ["uname -n", `${hostname}\n`],
      ["uname -a", `Linux ${hostname} 6.1.0-18-amd64 x86_64 GNU/Linux\n`],
    ]),
  };
}

function fstab({ random, secret }: Draft): string[] {
  return [
    "UUID=0b3f5d4e-77b1-4f3a-9a55-0f6c2c1d9e10 / ext4 errors=remount-ro 0 1",
    `//192.0.2.70/backup /srv/backup cifs password=${secret(random.text(16))},ro 0 0`,
  ];
}

function interfaces({ hostname, interfaces, random, secret }: Draft): string[] {
  const stanzas = Array.from({ length: interfaces }, (_, index) => [
    `# ${describe(random, hostname)}`,
    `auto eth${index}`,
    `iface eth${index} inet static`,
    `    address 10.${Math.floor(index / 250)}.${index % 250}.2/24`,
    ...(index % 10 === 9 ? [`    wpa-psk ${secret(random.text(20))}`] : []),
    "",
  ]);
  return ["auto lo", "iface lo inet loopback", "", ...stanzas.flat()];
}

function wireguard({ random, secret }: Draft): string[] {
  return [
    "[Interface]",
    `PrivateKey = ${secret(`${random.text(43)}=`)}`,
    "ListenPort = 51820",
    "[Peer]",
    `PublicKey = ${random.text(43)}=`,
    `PresharedKey = ${secret(`${random.text(43)}=`)}`,
    "AllowedIPs = 10.9.0.0/24",
  ];
}

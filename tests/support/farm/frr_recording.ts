import { describe } from "./descriptions.ts";
import type { Draft, DraftedRecording } from "./recording.ts";

/** A made-up FRRouting route reflector. */
export function makeFrrRecording(draft: Draft): DraftedRecording {
  const { hostname } = draft;
  return {
    banner: "\nHello, this is FRRouting (version 8.4.4).\n" +
      "Copyright 1996-2005 Kunihiro Ishiguro, et al.\n\n",
    configuration: [head(draft), interfaces(draft), bgp(draft)].flat().join("\n") + "\nend\n",
    outputs: new Map([["show version", version(hostname)]]),
  };
}

function head({ hostname, random, secret }: Draft): string[] {
  return [
    "frr version 8.4.4",
    "frr defaults traditional",
    `hostname ${hostname}`,
    "log syslog informational",
    `password ${secret(random.text(15))}`,
    `enable password ${secret(random.text(15))}`,
    "service integrated-vtysh-config",
    "!",
    `ip route 198.51.100.0/24 blackhole`,
    "!",
  ];
}

function interfaces({ hostname, interfaces, random, secret }: Draft): string[] {
  return Array.from({ length: interfaces }, (_, index) => [
    `interface eth${index}`,
    ` description ${describe(random, hostname)}`,
    ` ip address 10.${Math.floor(index / 250)}.${index % 250}.1/24`,
    ...(index % 8 === 0 ? [` ip ospf message-digest-key 1 md5 ${secret(random.text(14))}`] : []),
    "exit",
    "!",
  ]).flat();
}

function bgp({ random, secret }: Draft): string[] {
  return [
    "router bgp 64512",
    " bgp router-id 192.0.2.9",
    " neighbor 192.0.2.1 remote-as 64513",
    ` neighbor 192.0.2.1 password ${secret(random.text(19))}`,
    " !",
    " address-family ipv4 unicast",
    "  network 198.51.100.0/24",
    " exit-address-family",
    "exit",
    "!",
  ];
}

function version(hostname: string): string {
  return [
    `FRRouting 8.4.4 (${hostname}) on Linux(6.1.0-18-amd64).`,
    "Copyright 1996-2005 Kunihiro Ishiguro, et al.",
    "",
  ].join("\n");
}

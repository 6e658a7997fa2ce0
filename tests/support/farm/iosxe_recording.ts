import { describe } from "./descriptions.ts";
import type { Draft, DraftedRecording } from "./recording.ts";

/** A made-up Cisco IOS XE router. */
export function makeIosxeRecording(draft: Draft): DraftedRecording {
  const { hostname, random } = draft;
  const serial = `FOC${random.text(8, "0123456789ABCDEF")}`;
  return {
    banner: "\nAuthorised access only.\nEvery session is recorded.\n\n",
    configuration: [
      head(draft),
      interfaces(draft),
      routing(draft),
      certificate(draft),
      tail(draft),
    ].flat().join("\n") + "\nend\n\n",
    outputs: new Map([
      ["show version", version(hostname, serial)],
      ["show inventory", inventory(serial)],
    ]),
  };
}

function head({ hostname, random, secret }: Draft): string[] {
  return [
    "version 17.9",
    "service timestamps debug datetime msec",
    "service password-encryption",
    "!",
    `hostname ${hostname}`,
    "!",
    "boot-start-marker",
    "boot-end-marker",
    "!",
    `enable secret 9 ${secret(`$9$${random.text(14)}$${random.text(43)}`)}`,
    "!",
    "aaa new-model",
    "no ip domain lookup",
    `username netops privilege 15 password 7 ${secret(random.text(26, "0123456789ABCDEF"))}`,
    `username backup secret 9 ${secret(`$9$${random.text(14)}$${random.text(43)}`)}`,
    "!",
  ];
}

function interfaces({ hostname, interfaces, random }: Draft): string[] {
  return Array.from({ length: interfaces }, (_, index) => [
    `interface GigabitEthernet${Math.floor(index / 48)}/0/${index % 48}`,
    ` description ${describe(random, hostname)}`,
    ` ip address 10.${Math.floor(index / 250)}.${index % 250}.1 255.255.255.0`,
    ...(random.integer(0, 3) === 0 ? [" shutdown"] : [" negotiation auto"]),
    "!",
  ]).flat();
}

function routing({ random, secret }: Draft): string[] {
  return [
    "router bgp 64512",
    " bgp log-neighbor-changes",
    " neighbor 192.0.2.1 remote-as 64513",
    ` neighbor 192.0.2.1 password 7 ${secret(random.text(22, "0123456789ABCDEF"))}`,
    "!",
    "ip forward-protocol nd",
    "ip ssh version 2",
    "!",
    "tacacs server central",
    " address ipv4 192.0.2.49",
    ` key 7 ${secret(random.text(24, "0123456789ABCDEF"))}`,
    "!",
  ];
}

function certificate({ random }: Draft): string[] {
  const words = () => Array.from({ length: 8 }, () => random.text(8, "0123456789ABCDEF")).join(" ");
  return [
    "crypto pki certificate chain TP-self-signed",
    " certificate self-signed 01",
    ...Array.from({ length: 12 }, () => `  ${words()} `),
    "  \tquit",
    "!",
  ];
}

function tail({ random, secret }: Draft): string[] {
  return [
    `snmp-server community ${secret(random.text(18))} RO`,
    `snmp-server host 192.0.2.60 version 2c ${secret(random.text(17))} `,
    "snmp-server location Hall 3, row F",
    "!",
    "banner motd ^C",
    "Authorised access only.",
    "Every session is recorded.",
    "^C",
    "!",
    "line con 0",
    ` password 7 ${secret(random.text(20, "0123456789ABCDEF"))}`,
    "line vty 0 15",
    " transport input ssh",
    "!",
    "ntp clock-period 17179869",
    "ntp server 192.0.2.123",
    "!",
  ];
}

function version(hostname: string, serial: string): string {
  return [
    "Cisco IOS XE Software, Version 17.09.04a",
    "Cisco IOS Software [Cupertino], C1100 Software (C1100-UNIVERSALK9-M), Version 17.9.4a, RELEASE SOFTWARE (fc3)",
    "",
    `${hostname} uptime is 12 weeks, 3 days, 4 hours, 5 minutes`,
    'System image file is "bootflash:packages.conf"',
    "",
    "cisco C1111-8P (1RU) processor with 1433912K/6147K bytes of memory.",
    `Processor board ID ${serial}`,
    "Configuration register is 0x2102",
    "",
  ].join("\n");
}

function inventory(serial: string): string {
  return [
    'NAME: "Chassis", DESCR: "Cisco C1111-8P Chassis"',
    `PID: C1111-8P          , VID: V02  , SN: ${serial}`,
    "",
  ].join("\n");
}

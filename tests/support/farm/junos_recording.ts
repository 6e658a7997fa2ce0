import { describe } from "./descriptions.ts";
import type { Draft, DraftedRecording } from "./recording.ts";

/** A made-up Juniper firewall. */
export function makeJunosRecording(draft: Draft): DraftedRecording {
  const { hostname, random } = draft;
  const serial = `CV${random.text(10, "0123456789ABCDEF")}`;
  return {
    banner: "",
    configuration: [system(draft), interfaces(draft), protocols(draft)].flat().join("\n") + "\n",
    outputs: new Map([
      ["show version", version(hostname)],
      ["show chassis hardware", hardware(serial)],
    ]),
  };
}

function system({ hostname, random, secret }: Draft): string[] {
  const hash = () => secret(`$6$${random.text(8)}$${random.text(86)}`);
  return [
    "version 22.4R3-S2.11;",
    "system {",
    `    host-name ${hostname};`,
    "    root-authentication {",
    `        encrypted-password "${hash()}"; ## SECRET-DATA`,
    "    }",
    "    login {",
    '        message "Authorised access only: } is no end here";',
    "        user netops {",
    "            uid 2001;",
    "            class super-user;",
    "            authentication {",
    `                encrypted-password "${hash()}"; ## SECRET-DATA`,
    "            }",
    "        }",
    "    }",
    "    tacplus-server {",
    `        192.0.2.49 secret "${secret(`$9$${random.text(30)}`)}"; ## SECRET-DATA`,
    "    }",
    "}",
  ];
}

function interfaces({ hostname, interfaces, random }: Draft): string[] {
  const blocks = Array.from({ length: interfaces }, (_, index) => [
    `    ge-0/${Math.floor(index / 48)}/${index % 48} {`,
    `        description "${describe(random, hostname)}";`,
    "        unit 0 {",
    "            family inet {",
    `                address 10.${Math.floor(index / 250)}.${index % 250}.1/24;`,
    "            }",
    "        }",
    "    }",
  ]);
  return ["interfaces {", ...blocks.flat(), "}"];
}

function protocols({ random, secret }: Draft): string[] {
  return [
    "snmp {",
    '    location "Hall 3, row F";',
    `    community ${secret(random.text(18))} {`,
    "        authorization read-only;",
    "    }",
    "}",
    "protocols {",
    "    bgp {",
    "        group transit {",
    `            authentication-key "${secret(`$9$${random.text(28)}`)}"; ## SECRET-DATA`,
    "            neighbor 192.0.2.1 {",
    "                peer-as 64513;",
    "            }",
    "        }",
    "    }",
    "}",
  ];
}

function version(hostname: string): string {
  return [
    `Hostname: ${hostname}`,
    "Model: srx300",
    "Junos: 22.4R3-S2.11",
    "JUNOS Software Release [22.4R3-S2.11]",
    "",
  ].join("\n");
}

function hardware(serial: string): string {
  return [
    "Hardware inventory:",
    "Item             Version  Part number  Serial number     Description",
    `Chassis                                ${serial}      SRX300`,
    `Routing Engine   REV 0x08 650-077890   ${serial}      RE-SRX300`,
    "",
  ].join("\n");
}

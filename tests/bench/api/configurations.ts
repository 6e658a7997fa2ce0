/** Configurations that look like those of one operator: most lines are shared, addresses, names and notes are not. */

export interface GeneratedOptions {
  /** Which device; the same number gives the same text. */
  readonly device: number;
  /** About how long the text becomes. Default 25,000. */
  readonly bytes?: number;
}

/** The redacted text of one access switch, IOS-like, of about 30 bytes a line. */
export function generateConfiguration({ device, bytes = 25_000 }: GeneratedOptions): string {
  const random = randomFrom(device + 1);
  const lines = headOf(device);
  let size = 0;
  const add = (more: readonly string[]) => {
    lines.push(...more);
    size += more.reduce((sum, line) => sum + line.length + 1, 0);
  };
  add(SHARED);
  for (let block = 0; size < bytes - 300; block++) {
    const [kind = portOf] = [BLOCKS[block % BLOCKS.length]];
    add(kind(device, block, random));
  }
  return [...lines, "end", ""].join("\n");
}

type Random = () => number;
type Block = (device: number, block: number, random: Random) => readonly string[];

const WORDS = ["uplink", "printer", "camera", "desk", "door", "server", "phone", "lab", "meter"];

function headOf(device: number): string[] {
  return [
    "version 17.9",
    "service timestamps log datetime msec",
    "service password-encryption",
    `hostname ${nameOf(device)}`,
    `enable secret 9 <secret:${tagOf(device)}>`,
  ];
}

export function nameOf(device: number): string {
  return `sw-${String(device % 500).padStart(3, "0")}-${String(device).padStart(5, "0")}`;
}

function tagOf(number: number): string {
  return (number * 2_654_435_761 % 2 ** 25).toString(32).padStart(5, "a").slice(0, 5);
}

/** Lines that every device of the operator has. */
const SHARED: readonly string[] = [
  ...Array.from({ length: 40 }, (_, n) => ["vlan " + (100 + n), ` name segment-${100 + n}`, "!"])
    .flat(),
  ...Array.from(
    { length: 90 },
    (_, n) => ` permit tcp 10.0.${n}.0 0.0.0.255 any eq ${[22, 80, 443][n % 3]}`,
  ),
  "aaa new-model",
  "aaa authentication login default group tacacs+ local",
  "ip ssh version 2",
  "logging host 10.255.0.10",
  "ntp server 10.255.0.1",
  "snmp-server community <secret> RO",
  "spanning-tree mode rapid-pvst",
];

function portOf(device: number, block: number, random: Random): readonly string[] {
  const noted = random() < 0.4;
  const word = WORDS[Math.floor(random() * WORDS.length)];
  return [
    `interface GigabitEthernet1/0/${block + 1}`,
    ...noted ? [` description ${word} ${device}-${Math.floor(random() * 1_000)}`] : [],
    ` switchport access vlan ${100 + Math.floor(random() * 40)}`,
    " switchport mode access",
    " spanning-tree portfast",
    " storm-control broadcast level 1.00",
    "!",
  ];
}

function routedOf(device: number, block: number): readonly string[] {
  return [
    `interface Vlan${100 + block % 40}`,
    ` ip address ${addressOf(device, block)} 255.255.255.0`,
    " ip helper-address 10.255.0.20",
    " no ip redirects",
    "!",
  ];
}

function routeOf(device: number, block: number): readonly string[] {
  return [
    `ip route ${addressOf(device, block)} 255.255.255.255 ${addressOf(device, 1)}`,
    `snmp-server host 10.255.0.${block % 200} version 2c <secret>`,
  ];
}

const BLOCKS: readonly Block[] = [portOf, portOf, portOf, routedOf, portOf, routeOf];

function addressOf(device: number, block: number): string {
  return `10.${1 + (device >> 8) % 250}.${device & 255}.${1 + block % 250}`;
}

/** A small generator of the same numbers each time (mulberry32). */
function randomFrom(seed: number): Random {
  let state = seed | 0;
  return () => {
    state = (state + 0x6D2B79F5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

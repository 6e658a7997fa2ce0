import type { KeyFile } from "./key_file_schema.ts";

type ListedKey = (KeyFile["signing"] | KeyFile["sealing"] | KeyFile["kek"])[number];

/** All keys of a key file for people: what each is for and since when, never a key itself. */
export function describeKeys(file: KeyFile): string {
  const lines = [
    ...file.signing.map((key) => lineOf("signing", key.kid, key)),
    ...file.sealing.map((key) => lineOf("sealing", key.kid, key)),
    ...file.kek.map((key) => lineOf("kek", key.id, key)),
  ];
  return [`generation ${file.generation}`, ...lines].join("\n");
}

function lineOf(use: string, name: string, key: ListedKey): string {
  return `${use.padEnd(8)} ${name.padEnd(44)} ${stateOf(key)}`;
}

function stateOf({ active, createdAt, activatedAt, replacedAt, retiredAt }: ListedKey): string {
  if (retiredAt !== undefined) return `retired ${retiredAt}`;
  if (active) return `in use since ${activatedAt ?? createdAt}`;
  return replacedAt === undefined ? `waits since ${createdAt}` : `replaced ${replacedAt}`;
}

/** One PEM block, without what stands around it. */
export interface PemBlock {
  /** `RSA PRIVATE KEY` */
  readonly label: string;
  /** What is between the BEGIN and the END line. */
  readonly body: string;
  /** The whole block, one line break after each line. */
  readonly text: string;
}

/**
 * The PEM blocks in a text, in their order. Around them may stand what tools write there: `Bag Attributes`, EC
 * PARAMETERS, a public key in one line. A block whose ends do not match is none.
 */
export function pemBlocks(text: string): readonly PemBlock[] {
  const blocks: PemBlock[] = [];
  let open: { label: string; lines: string[] } | undefined;
  for (const line of text.split(/\r\n?|\n/).map((raw) => raw.trim())) {
    const [, edge, label = ""] = /^-----(BEGIN|END) ([A-Z0-9 ]+)-----$/.exec(line) ?? [];
    if (edge === "BEGIN") open = { label, lines: [] };
    else if (edge === "END" && open?.label === label) {
      blocks.push(blockOf(label, open.lines));
      open = undefined;
    } else if (edge === "END") open = undefined;
    else open?.lines.push(line);
  }
  return blocks;
}

/** The private keys among them. */
export function privateKeyBlocks(text: string): readonly PemBlock[] {
  return pemBlocks(text).filter(({ label }) => label.endsWith("PRIVATE KEY"));
}

function blockOf(label: string, lines: readonly string[]): PemBlock {
  const body = lines.join("\n");
  return { label, body, text: `-----BEGIN ${label}-----\n${body}\n-----END ${label}-----\n` };
}

/** Runs a command for people: what it returns goes to standard output, an Error's message to standard error with exit code 1. */
export async function runCommand(main: () => Promise<string | void>): Promise<void> {
  try {
    const text = await main();
    if (text !== undefined) await say(Deno.stdout, text);
  } catch (error) {
    await say(Deno.stderr, error instanceof Error ? error.message : String(error));
    Deno.exitCode = 1;
  }
}

async function say(stream: typeof Deno.stdout, text: string): Promise<void> {
  await stream.write(new TextEncoder().encode(`${text}\n`));
}

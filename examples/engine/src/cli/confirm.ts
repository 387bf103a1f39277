/** A question with yes or no. */
import type { Cli } from './cli.ts';

/** Asks on the terminal; anything but `y` or `yes`, also the end of input, is no. */
export async function confirm(cli: Cli, question: string): Promise<boolean> {
  cli.stdout.write(`${question} [y/N] `);
  const { createInterface } = await import('node:readline');
  const reader = createInterface({ input: cli.stdin });
  for await (const line of reader) return /^y(?:es)?$/i.test(line.trim());
  return false;
}

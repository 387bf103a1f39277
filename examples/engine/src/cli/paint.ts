/** Colour, where it is wanted: on terminals, unless NO_COLOR is set. */
import type { Cli, OutputStream } from './cli.ts';

const codes = { red: 31, green: 32, yellow: 33, dim: 2 } as const;

/** `text` in a colour on a terminal that shows any, else as it is. See https://no-color.org. */
export function paint(cli: Cli, out: OutputStream, color: keyof typeof codes, text: string): string {
  const wanted = out.isTTY && !cli.environment['NO_COLOR'] && cli.environment['TERM'] !== 'dumb';
  return wanted ? `\x1b[${codes[color]}m${text}\x1b[0m` : text;
}

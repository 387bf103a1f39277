/** Sizes on the command line: `64m`, `1.5GiB`, `512`. */
import { UsageError } from '../errors.ts';

const powers: Record<string, number> = { k: 1, m: 2, g: 3, t: 4, p: 5 };

/**
 * A size in bytes. The suffixes b, k, m, g, t, p (any case; k to p may be followed by `b` or `ib`) are powers of 1024,
 * as in Docker's `--memory`.
 *
 * @throws {UsageError} when the text is no size
 */
export function parseSize(text: string): number {
  const match = /^(.*?[\d. ])([^\d. ]*)$/s.exec(text);
  if (!match) throw new UsageError(`invalid size: '${text}'`);
  const number = match[1]!.replace(/ $/, '');
  if (!/^[+-]?(?:\d+\.?\d*|\.\d+)$/.test(number)) {
    throw new UsageError(`strconv.ParseFloat: parsing ${JSON.stringify(number)}: invalid syntax`);
  }
  if (number.startsWith('-')) throw new UsageError(`invalid size: '${text}'`);
  const suffix = match[2]!.toLowerCase();
  if (suffix === '' || suffix === 'b') return Math.trunc(Number(number));
  const power = /^[kmgtp](?:i?b)?$/.test(suffix) ? powers[suffix[0]!] : undefined;
  if (power === undefined) throw new UsageError(`invalid suffix: '${suffix}'`);
  return Math.trunc(Number(number) * 1024 ** power);
}

/** As {@link parseSize}, and -1 for "no limit". */
export function parseSwapSize(text: string): number {
  return text === '-1' ? -1 : parseSize(text);
}

/**
 * CPUs as billionths: `0.5` is 500000000.
 *
 * @throws {UsageError} for anything but a decimal with at most nine digits after the point
 */
export function parseCpus(text: string): number {
  const match = /^(\d*)(?:\.(\d*))?$/.exec(text);
  if (!match || text === '' || text === '.') {
    throw new UsageError(`failed to parse ${text} as a rational number`);
  }
  const fraction = match[2] ?? '';
  if (/[1-9]/.test(fraction.slice(9))) throw new UsageError('value is too precise');
  return Number(match[1] || 0) * 1e9 + Number(fraction.slice(0, 9).padEnd(9, '0'));
}

/** Go durations (`1m30s`) and the moments `--since` and `--until` take. */
import { UsageError } from '../errors.ts';

const nanosPer: Record<string, bigint> = {
  ns: 1n,
  us: 1_000n,
  µs: 1_000n,
  μs: 1_000n,
  ms: 1_000_000n,
  s: 1_000_000_000n,
  m: 60_000_000_000n,
  h: 3_600_000_000_000n,
};

const part = /(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)/y;

/**
 * A duration in nanoseconds.
 *
 * @throws {UsageError} worded as Go's time.ParseDuration
 */
export function parseDuration(text: string): bigint {
  const sign = text.startsWith('-') ? -1n : 1n;
  const body = text.replace(/^[+-]/, '');
  if (body === '0') return 0n;
  let total = 0n;
  part.lastIndex = 0;
  do {
    const match = part.exec(body);
    if (!match) {
      throw new UsageError(`time: ${explain(body)} duration ${JSON.stringify(text)}`);
    }
    const [whole, fraction = ''] = match[1]!.split('.');
    const unit = nanosPer[match[2]!]!;
    total += BigInt(whole || 0) * unit;
    if (fraction !== '') total += (BigInt(fraction) * unit) / 10n ** BigInt(fraction.length);
  } while (part.lastIndex < body.length);
  return sign * total;
}

/** What is wrong with a duration, in Go's words. */
function explain(body: string): string {
  for (const [, unit = ''] of body.matchAll(/[\d.]*\d[\d.]*([^\d.]*)/g)) {
    if (unit === '') return 'missing unit in';
    if (!Object.hasOwn(nanosPer, unit)) return `unknown unit ${JSON.stringify(unit)} in`;
  }
  return 'invalid';
}

/**
 * What the API takes for a moment given on the command line: a duration counts back from now, a date is converted to
 * Unix seconds (with nanoseconds when it has any), a Unix time passes as it is.
 *
 * @throws {UsageError} when the text is none of them
 */
export function parseMoment(text: string, nowMs: number): string {
  if (/^\d+(?:\.\d+)?$/.test(text)) return text;
  const duration =
    /^[+-]?[\d.]+[a-zµμ]/.test(text) && !/^\d{4}-/.test(text) ? parseDuration(text) : undefined;
  if (duration !== undefined)
    return String((BigInt(Math.trunc(nowMs)) * 1_000_000n - duration) / 1_000_000_000n);
  const date =
    /^(\d{4}-\d{2}-\d{2})(?:T(\d{2}(?::\d{2}(?::\d{2})?)?)(?:\.(\d{1,9}))?)?(Z|[+-]\d{2}:?\d{2})?$/.exec(
      text,
    );
  if (!date) throw new UsageError(`failed to parse value as time or duration: ${JSON.stringify(text)}`);
  const [, day, time = '00', fraction, zone] = date;
  const clock = `${time}${':00'.repeat(3 - time.split(':').length)}`;
  // Without a zone Docker means the client's own, and a date-only string would be UTC to JavaScript.
  const seconds = Math.trunc(Date.parse(`${day}T${clock}${zone ?? ''}`) / 1000);
  if (Number.isNaN(seconds))
    throw new UsageError(`failed to parse value as time or duration: ${JSON.stringify(text)}`);
  return fraction ? `${seconds}.${fraction.padEnd(9, '0')}` : `${seconds}.000000000`;
}

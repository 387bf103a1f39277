/** Time as Go prints it: RFC 3339 with up to nine fraction digits, trailing zeros trimmed. */

/** Go's zero time: "never". */
export const ZERO_TIME = '0001-01-01T00:00:00Z';

const NS_PER_MS = 1_000_000n;
const NS_PER_S = 1_000_000_000n;

let last = 0n;

/**
 * The wall clock in nanoseconds since the epoch, strictly increasing within this process.
 *
 * Date has milliseconds only; the rest comes from the monotonic clock, so that events of one millisecond keep their
 * order.
 */
export function nowNs(): bigint {
  const now = BigInt(Date.now()) * NS_PER_MS + (process.hrtime.bigint() % NS_PER_MS);
  last = now > last ? now : last + 1n;
  return last;
}

/** RFC3339Nano in UTC, for example `2026-01-02T03:04:05.000000006Z`; {@link ZERO_TIME} for undefined. */
export function formatTime(time: Date | bigint | undefined): string {
  if (time === undefined) return ZERO_TIME;
  const ns = typeof time === 'bigint' ? time : BigInt(time.getTime()) * NS_PER_MS;
  // BigInt division truncates towards zero; times before 1970 need the floor
  const fraction = ((ns % NS_PER_S) + NS_PER_S) % NS_PER_S;
  const seconds = new Date(Number((ns - fraction) / NS_PER_S) * 1000).toISOString().slice(0, 19);
  const digits = fraction.toString().padStart(9, '0').replace(/0+$/, '');
  return digits === '' ? `${seconds}Z` : `${seconds}.${digits}Z`;
}

/** RFC 3339 with exactly nine fraction digits, as log timestamps have. */
export function formatTimePadded(ns: bigint): string {
  const fraction = ((ns % NS_PER_S) + NS_PER_S) % NS_PER_S;
  const seconds = new Date(Number((ns - fraction) / NS_PER_S) * 1000).toISOString().slice(0, 19);
  return `${seconds}.${fraction.toString().padStart(9, '0')}Z`;
}

const DURATION_UNIT_NS: Record<string, number> = {
  ns: 1,
  us: 1e3,
  µs: 1e3,
  ms: 1e6,
  s: 1e9,
  m: 60e9,
  h: 3600e9,
};

/** Parses a Go duration (`1h15m30.5s`) into nanoseconds; undefined when it is not one. */
export function parseDuration(text: string): bigint | undefined {
  if (text === '0') return 0n;
  const match = /^([+-]?)((?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|ms|s|m|h))+$/.exec(text);
  if (!match) return undefined;
  let total = 0;
  for (const [, amount, unit] of text.matchAll(/(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)/g)) {
    total += Number(amount) * DURATION_UNIT_NS[unit!]!;
  }
  return BigInt(Math.round(match[1] === '-' ? -total : total));
}

/** A duration as Go prints it: `1h0m5s`, `1.5s`, `250ms`, `0s`. Milliseconds in, no finer part out. */
export function formatDuration(ms: number): string {
  if (ms > 0 && ms < 1000) return `${ms}ms`;
  const minutes = Math.trunc(ms / 60_000);
  const seconds = `${(ms % 60_000) / 1000}s`;
  if (minutes === 0) return seconds;
  const hours = Math.trunc(minutes / 60);
  return hours === 0 ? `${minutes}m${seconds}` : `${hours}h${minutes % 60}m${seconds}`;
}

/**
 * Parses the `since` and `until` parameters: unix seconds with an optional fraction, RFC 3339 (also a date alone), or
 * a Go duration that counts back from now. Nanoseconds since the epoch; undefined when it is none of these.
 */
export function parseTimestamp(text: string, now: bigint = nowNs()): bigint | undefined {
  // the form of every line of a log: checked first and read without the slower forms below
  const plain = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z$/.exec(text);
  if (plain) {
    const ms = Date.parse(`${plain[1]}Z`);
    if (Number.isNaN(ms)) return undefined;
    return BigInt(ms) * NS_PER_MS + BigInt((plain[2] ?? '').padEnd(9, '0'));
  }
  const unix = /^(-?\d+)(?:\.(\d{1,9}))?$/.exec(text);
  if (unix) {
    const fraction = BigInt((unix[2] ?? '').padEnd(9, '0'));
    const seconds = BigInt(unix[1]!) * NS_PER_S;
    return text.startsWith('-') ? seconds - fraction : seconds + fraction;
  }
  const duration = parseDuration(text);
  if (duration !== undefined) return now - duration;
  const date = /^(\d{4}-\d\d-\d\d)(?:T(\d\d(?::\d\d(?::\d\d)?)?)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)?)?$/.exec(
    text,
  );
  if (!date) return undefined;
  const [, day, clock = '00:00:00', fraction = '', zone = 'Z'] = date;
  const ms = Date.parse(`${day}T${clock.padEnd(8, ':00')}${zone}`);
  if (Number.isNaN(ms)) return undefined;
  return BigInt(ms) * NS_PER_MS + BigInt(fraction.padEnd(9, '0'));
}

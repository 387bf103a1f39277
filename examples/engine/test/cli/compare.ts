/** Brings what two clients did into a form in which only real differences differ. */
import type { Outcome } from './drive.ts';
import type { Seen } from './peer.ts';

/** What is recorded of one case, and compared. */
export interface Recorded extends Outcome {
  /** Requests that create something, in order, with what their bodies say. */
  requests: { target: string; body: unknown }[];
}

/** Lists whose order the docker CLI leaves to Go's maps. */
const unordered = new Set(['Binds', 'Env', 'Ulimits', 'CapAdd', 'CapDrop']);

/** Bodies differ in how much emptiness they spell out; the daemon reads them alike. */
function meaning(value: unknown, key = ''): unknown {
  if (Array.isArray(value)) {
    if (value.length === 0) return undefined;
    const items = value.map((item) => meaning(item) ?? null);
    return unordered.has(key)
      ? items.sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1))
      : items;
  }
  if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value)
      .map(([name, item]): [string, unknown] => [name, meaning(item, name)])
      .filter(([, item]) => item !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : 1));
    return entries.length > 0 ? Object.fromEntries(entries) : undefined;
  }
  return value === null || value === '' || value === 0 || value === false ? undefined : value;
}

/** The program's name, and moments that move with the day of the run. */
function neutral(text: string): string {
  return text
    .replace(/\b[Dd]ocker: /g, 'tare: ')
    .replace(/(?<=Usage: {2}|['"])docker\b/g, 'tare')
    .replace(/unknown command: docker/g, 'unknown command: tare')
    .replace(/^docker(?= .* is only supported )/gm, 'tare')
    .replaceAll(process.cwd(), '/cwd')
    .replace(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \+0000 UTC/g, '<moment>');
}

/** What matters of a run. */
export function record(outcome: Outcome, seen: readonly Seen[]): Recorded {
  return {
    code: outcome.code,
    stdout: neutral(outcome.stdout),
    stderr: neutral(outcome.stderr),
    requests: seen
      .filter(({ method, body }) => method === 'POST' && body !== '')
      .map(({ target, body }) => ({
        target,
        body: meaning(
          JSON.parse(
            body.replaceAll(`${process.cwd()}/`, '/cwd/').replaceAll(`"${process.cwd()}"`, '"/cwd"'),
          ),
        ),
      })),
  };
}

/** Signal names and numbers as clients write them: `KILL`, `SIGKILL`, `9`, `RTMIN+3`. */
import { constants } from 'node:os';

import { invalid } from '../errors.ts';

/** First and last real-time signal that programs may use (signal(7); glibc keeps 32 and 33 for itself). */
const RTMIN = 34;
const RTMAX = 64;

const byName = new Map<string, number>(
  Object.entries(constants.signals).map(([name, number]) => [name.slice('SIG'.length), number]),
);

/**
 * The number of a signal.
 *
 * @throws {EngineError} `INVALID` for an unknown name or a number outside 1 to 64
 */
export function parseSignal(text: string): number {
  if (/^\d+$/.test(text)) {
    const number = Number(text);
    if (number >= 1 && number <= RTMAX) return number;
    throw invalid(`invalid signal: ${text}`);
  }
  const name = text.toUpperCase().replace(/^SIG/, '');
  const known = byName.get(name);
  if (known !== undefined) return known;
  const realTime = /^RT(MIN|MAX)(?:([+-])(\d{1,2}))?$/.exec(name);
  if (realTime) {
    const [, base, sign, offset = '0'] = realTime;
    const number = (base === 'MIN' ? RTMIN : RTMAX) + (sign === '-' ? -1 : 1) * Number(offset);
    if (number >= RTMIN && number <= RTMAX) return number;
  }
  throw invalid(`invalid signal: ${text}`);
}

/** SIGTERM, what `stop` sends when nobody says otherwise. */
export const SIGTERM: number = constants.signals.SIGTERM;
/** SIGKILL. */
export const SIGKILL: number = constants.signals.SIGKILL;

/** The daemon's log: JSON for what collects logs, words for the person at whose terminal the daemon runs. */
import { isatty } from 'node:tty';
import { pino, type Logger } from 'pino';
import type { LogLevel } from './config-keys.ts';

/** Opens it, on stderr. */
export function openLog(level: LogLevel): Logger {
  const options = { level, base: null };
  if (!isatty(2)) return pino(options, pino.destination({ fd: 2, sync: true }));
  const { err } = pino.stdSerializers;
  // our messages name their causes; pino would name them once more
  const serializers = { err: (error: Error) => ({ message: error.message, stack: err(error).stack }) };
  const log: Logger = pino(
    { ...options, serializers },
    {
      write: (line) => process.stderr.write(`${inWords(line, { stacks: log.isLevelEnabled('debug') })}\n`),
    },
  );
  return log;
}

/**
 * A line of pino's as a person reads it: when, how bad, what, and what about.
 *
 * @param options.stacks - where in the program an error comes from, too
 */
export function inWords(line: string, options: { stacks: boolean }): string {
  const { level, time, msg, err, ...about } = JSON.parse(line) as {
    level: number;
    time: number;
    msg?: string;
    err?: { message?: string; stack?: string };
  };
  const clock = new Date(time).toTimeString().slice(0, 8);
  const what = [msg, err?.message !== msg && err?.message].filter(Boolean).join(': ');
  const rest = Object.entries(about).map(([key, value]) => ` ${key}=${text(value)}`);
  const stack = options.stacks && err?.stack ? `\n${err.stack}` : '';
  return `${clock} ${(pino.levels.labels[level] ?? String(level)).padEnd(5)} ${what}${rest.join('')}${stack}`;
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** Messages to the log that engines read, as logrus writes them. */
import { appendFileSync, writeSync } from 'node:fs';

export type LogFormat = 'text' | 'json';

/** Where messages go: a file, or stderr. */
export interface Log {
  file: string | undefined;
  format: LogFormat;
  debug: boolean;
}

/** RFC 3339 in UTC, to the second. */
function now(): string {
  return new Date().toISOString().replace(/\.\d+Z$/, 'Z');
}

/** Text as Go quotes it. */
function quoted(text: string): string {
  return JSON.stringify(text).replaceAll('\\u00', '\\x');
}

/** Never through `process.stderr`: that may make the caller's pipe, which a container shares, non-blocking. */
export function print(fd: 1 | 2, text: string | Uint8Array): void {
  const bytes = typeof text === 'string' ? Buffer.from(text) : text;
  for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at);
}

/** Writes one message. An error that goes to a file is told on stderr too. */
export function log(to: Log, level: 'error' | 'warning' | 'debug', message: string): void {
  if (level === 'debug' && !to.debug) return;
  const line =
    to.format === 'json'
      ? `${JSON.stringify({ level, msg: message, time: now() })}\n`
      : `time="${now()}" level=${level} msg=${quoted(message)}\n`;
  if (to.file === undefined) return print(2, line);
  appendFileSync(to.file, line, { mode: 0o644 });
  if (level === 'error') print(2, `${message}\n`);
}

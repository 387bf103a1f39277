/** Why the daemon did not start: one line, for the person who started it. */
import { mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Config } from './config-keys.ts';
import { messageOf, systemError } from './errors.ts';

/** SQLite's code for a full disk; Node gives it as a number alone. */
const SQLITE_FULL = 13;

/** What happened, and what to do about it where something can be done. */
export function startFailure(thrown: unknown, config: Pick<Config, 'dataRoot'>): string {
  const error = firstOf(thrown);
  const { code, errcode } = error as { code?: unknown; errcode?: unknown };
  const message = messageOf(error);
  if (code === 'ENOSPC' || errcode === SQLITE_FULL) {
    return `no space is left for ${config.dataRoot}: make some, or give another --data-root`;
  }
  if (/ in use by process \d+$/.test(message)) {
    return `${message}: another daemon has this --data-root; stop it, or give this one another`;
  }
  if (/^nf_tables table .* owns it/.test(message)) {
    return `${message}. Two daemons cannot share a network: stop the other one, or start this one under 'unshare --net'`;
  }
  return message;
}

/** What began it, of errors that others came on top of while things were taken down again. */
function firstOf(error: unknown): unknown {
  // by its shape: compiled for Node.js 22, `using` makes such errors of a class of its own
  if (error instanceof Error && 'suppressed' in error) return firstOf(error.suppressed);
  if (error instanceof AggregateError && error.errors.length > 0) return firstOf(error.errors[0]);
  return error;
}

/**
 * Makes a folder of the daemon's, and those above it.
 *
 * @param flag - what it is given by
 * @throws {EngineError} `SYSTEM`
 */
export function makeRoot(flag: string, path: string): void {
  try {
    makeFolders(path);
  } catch (error) {
    throw systemError(`cannot make the folder ${path}: ${messageOf(error)}; give another ${flag}`, {
      cause: error,
    });
  }
}

/** One after the other: Node, asked for all at once, never comes back where there can be no folders, as in /proc. */
function makeFolders(path: string): void {
  const there = statSync(path, { throwIfNoEntry: false });
  if (there?.isDirectory()) return;
  if (!there) makeFolders(dirname(path));
  mkdirSync(path, { mode: 0o711 });
}

/** What a process gets of this one: stdio, descriptors from 3 on, a console socket; and the files that name its pid. */
import { closeSync, renameSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { connectUnix } from '@tare/runtime-native';
import type { StdioOptions } from '@tare/runtime-native';

import { CommandError } from './errors.ts';

/** First descriptor after stdio. */
const FIRST_EXTRA = 3;

export interface StdioRequest {
  terminal: boolean;
  /** Whether this command ends before the process. */
  detach: boolean;
  consoleSocket: string | undefined;
  /** Of descriptors 3, 4, … of this process, how many go on, besides those of LISTEN_FDS. */
  preserveFds: number;
}

/** Descriptors that socket activation has left for the program: the variables, and how many. */
export function listenFds(): { count: number; env: string[] } {
  const count = Number(process.env['LISTEN_FDS'] ?? 0);
  if (!Number.isInteger(count) || count <= 0) return { count: 0, env: [] };
  return { count, env: [`LISTEN_FDS=${count}`, 'LISTEN_PID=1'] };
}

/**
 * stdio for the runtime, which borrows the descriptors: dispose of it when the process is made.
 *
 * @throws {CommandError} for a console socket that does not fit
 */
export function openStdio(request: StdioRequest): { stdio: StdioOptions } & Disposable {
  const { terminal, detach, consoleSocket, preserveFds } = request;
  if (terminal && detach && consoleSocket === undefined)
    throw new CommandError('cannot allocate tty if runc will detach without setting console socket');
  if (consoleSocket !== undefined && !(terminal && detach))
    throw new CommandError('cannot use console socket if runc will not detach or allocate tty');
  const count = preserveFds + listenFds().count;
  const pass = Array.from({ length: count }, (_, i) => FIRST_EXTRA + i);
  const console = consoleSocket === undefined ? undefined : connectUnix(consoleSocket, 'stream');
  const stdio: StdioOptions = { terminal, pass };
  // orphans go to whoever reaps ours, who waits for them
  if (detach) stdio.reparent = true;
  if (console !== undefined) stdio.consoleSocket = console;
  else if (terminal) stdio.openStdin = true;
  else stdio.inherit = [0, 1, 2];
  return {
    stdio,
    [Symbol.dispose]() {
      if (console !== undefined) closeSync(console);
    },
  };
}

/** Writes a pid so that nobody reads half of it. */
export function writePidFile(path: string | undefined, pid: number): void {
  if (path === undefined) return;
  const temporary = join(dirname(path), `.${basename(path)}`);
  writeFileSync(temporary, String(pid), { mode: 0o666 });
  renameSync(temporary, path);
}

/** A process in the foreground: its terminal is ours, signals are handed on, its exit code becomes ours. */
import { constants } from 'node:os';
import type { Process } from '@tare/runtime-native';

import { print } from './log.ts';

/** Signals that stay here: those that cannot be caught, and those that are about this process itself. */
const KEPT = new Set(['SIGKILL', 'SIGSTOP', 'SIGCHLD', 'SIGPIPE', 'SIGURG', 'SIGWINCH', 'SIGPROF']);
/** Node.js takes those of faults for its own. */
const FAULTS = new Set(['SIGBUS', 'SIGFPE', 'SIGSEGV', 'SIGILL', 'SIGTRAP', 'SIGABRT', 'SIGIOT', 'SIGSYS']);

/** Hands every signal on until disposed of. */
export function forwardSignals(process_: Process): Disposable {
  const forwarded = Object.entries(constants.signals).filter(
    ([name]) => !KEPT.has(name) && !FAULTS.has(name),
  );
  const handlers = forwarded.map(([name, number]) => {
    // it may have ended meanwhile, and then nobody is there to be told
    const handler = (): void => void process_.kill(number).catch(() => {});
    process.on(name as NodeJS.Signals, handler);
    return [name, handler] as const;
  });
  return {
    [Symbol.dispose]() {
      for (const [name, handler] of handlers) process.off(name as NodeJS.Signals, handler);
    },
  };
}

/** Follows a process that has our stdio, or a terminal of its own that is shown in ours. `start` lets it begin. */
export async function follow(
  process_: Process,
  options: { terminal: boolean; start: () => Promise<void> },
): Promise<number> {
  using _ = forwardSignals(process_);
  if (options.terminal) await showTerminal(process_, options.start);
  else await options.start();
  const { exitCode } = await process_.wait();
  return exitCode;
}

async function showTerminal(process_: Process, start: () => Promise<void>): Promise<void> {
  await using attachment = await process_.attach({ stdin: true });
  const { stdin, stdout } = process;
  const resize = (): void => {
    const { columns, rows } = stdout;
    if (columns) void process_.resize({ columns, rows }).catch(() => {});
  };
  await start();
  resize();
  stdout.on('resize', resize);
  if (stdin.isTTY) stdin.setRawMode(true);
  stdin.on('data', (data: Buffer) => {
    // the process may end while we type
    attachment.write(data).catch(() => stdin.pause());
  });
  try {
    for await (const { data } of attachment.output) print(1, data);
  } finally {
    stdout.off('resize', resize);
    if (stdin.isTTY) stdin.setRawMode(false);
    stdin.destroy();
  }
}

/** Signals of the client, passed on to the container it runs. */
import { constants } from 'node:os';
import type { Cli } from './cli.ts';

/**
 * Signals that are the client's own business (children, broken pipes, window size, Go-style preemption) or cannot be
 * caught.
 */
const own = new Set([
  'SIGCHLD',
  'SIGPIPE',
  'SIGWINCH',
  'SIGURG',
  'SIGKILL',
  'SIGSTOP',
  'SIGPROF',
  'SIGVTALRM',
  'SIGALRM',
]);
/** Faults of the client itself; forwarding those would hide them. */
const faults = new Set([
  'SIGSEGV',
  'SIGBUS',
  'SIGFPE',
  'SIGILL',
  'SIGABRT',
  'SIGIOT',
  'SIGTRAP',
  'SIGSYS',
  'SIGSTKFLT',
]);
/** Second names of signals in this list, which would be registered twice. */
const aliases = new Set(['SIGCLD', 'SIGPOLL', 'SIGUNUSED', 'SIGLOST']);

/**
 * Forwards every catchable signal to the container instead of dying of it.
 *
 * @returns disposing it gives the signals their usual meaning again
 */
export function proxySignals(cli: Cli, containerId: string): Disposable {
  const forward = (signal: NodeJS.Signals): void => {
    cli.client
      .text('POST', `/containers/${containerId}/kill`, { query: { signal: signal.replace(/^SIG/, '') } })
      // The container may have ended at this very moment; its exit is what the user will see.
      .catch(() => undefined);
  };
  const names = (Object.keys(constants.signals) as NodeJS.Signals[]).filter(
    (name) => !own.has(name) && !faults.has(name) && !aliases.has(name),
  );
  for (const name of names) process.on(name, forward);
  return {
    [Symbol.dispose]() {
      for (const name of names) process.off(name, forward);
    },
  };
}

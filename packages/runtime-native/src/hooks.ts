/**
 * Hooks of the runtime's namespaces, which are this process's: prestart, createRuntime, poststart and poststop. Each is
 * started through the helper, in a session of its own, and reads the container's state from its stdin; those of the
 * container's namespaces are started by the container's process.
 */
import { closeSync, readSync, writeSync } from 'node:fs';

import { load } from '#binding';
import { RuntimeError, hookFailed } from './errors.ts';
import { argumentsOf, hooksOf, stateDocument, timeoutOf } from './plan/hooks.ts';
import type { HookSubject } from './plan/hooks.ts';
import { memfdCreate, pidfdSendSignal, spawnHelper, waitPidfd, watchReadable } from './process.ts';
import type { SpawnedProcess } from './process.ts';
import type { ContainerStatus } from './runtime.ts';
import type { HookKind, HookSpec, Spec } from './spec/config.ts';

/** Of a hook's output, the end: it says why. */
const KEPT_OUTPUT_BYTES = 1024;
const SIGKILL = 9;

/** Keeps the end of what comes through a pipe. Owns `fd`. */
class Output implements Disposable {
  #kept = Buffer.alloc(0);
  readonly #fd: number;
  readonly #watcher: Disposable;

  constructor(fd: number) {
    this.#fd = fd;
    this.#watcher = watchReadable(fd, () => {
      // at its end it would be readable for ever
      if (!this.#read()) this.#watcher[Symbol.dispose]();
    });
  }

  /** Reads what is there; false at the end. */
  #read(): boolean {
    const part = Buffer.alloc(64 << 10);
    for (;;) {
      let size: number;
      try {
        size = readSync(this.#fd, part);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return true;
        throw error;
      }
      if (size === 0) return false;
      this.#kept = Buffer.concat([this.#kept, part.subarray(0, size)]).subarray(-KEPT_OUTPUT_BYTES);
    }
  }

  /** What is kept, once nothing more is expected. */
  text(): string {
    this.#read();
    return this.#kept.toString().trim();
  }

  [Symbol.dispose](): void {
    this.#watcher[Symbol.dispose]();
    closeSync(this.#fd);
  }
}

function stdinOf(state: string): number {
  const fd = memfdCreate('state');
  // at a position, so that the hook reads from the start
  writeSync(fd, state, 0);
  return fd;
}

function startHook(hook: HookSpec, state: string, directory: string): SpawnedProcess & { output: Output } {
  const { path, env = [] } = hook;
  const [reading, writing] = load().pipe();
  const stdin = stdinOf(state);
  const output = new Output(reading);
  try {
    const argv = ['tare-init', 'hook', directory, path, ...argumentsOf(hook)];
    return { ...spawnHelper({ argv, env, stdin, stdout: writing, stderr: writing }), output };
  } catch (error) {
    output[Symbol.dispose]();
    throw error;
  } finally {
    closeSync(stdin);
    closeSync(writing);
  }
}

/** Ends a hook and everything in its session; it is not waited for yet, so the number is its own. */
function killSession({ pid, pidfd }: SpawnedProcess): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (error) {
    // it had not come to make its session, or has left it
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
  pidfdSendSignal(pidfd, SIGKILL);
}

async function runHook(
  hook: HookSpec,
  state: string,
  directory: string,
  signal?: AbortSignal,
): Promise<void> {
  const started = startHook(hook, state, directory);
  using output = started.output;
  const timeoutMs = timeoutOf(hook);
  const timeout = timeoutMs === undefined ? undefined : AbortSignal.timeout(timeoutMs);
  const stop = [signal, timeout].filter((one) => one !== undefined);
  let status;
  try {
    status = await waitPidfd(started.pidfd, stop.length > 0 ? { signal: AbortSignal.any(stop) } : {});
  } catch (error) {
    killSession(started);
    await waitPidfd(started.pidfd);
    if (signal?.aborted || !timeout?.aborted) throw error;
    throw new Error(`${hook.path}: took longer than ${hook.timeout} s`, { cause: error });
  } finally {
    closeSync(started.pidfd);
  }
  if (status.code === 0) return;
  const end = status.code === null ? `signal ${status.signal}` : `exit status ${status.code}`;
  throw new Error([hook.path, end, output.text()].filter(Boolean).join(': '));
}

/** Where and for whom hooks run. */
export interface HookRun {
  spec: Spec;
  subject: HookSubject;
  status: ContainerStatus;
  /** Left out of the state when 0. */
  pid: number;
  signal?: AbortSignal | undefined;
}

/**
 * Runs the hooks of one kind in their order, and stops at the first that fails.
 *
 * @throws {RuntimeError} `HOOK_FAILED` with `field`; the signal's reason when it is aborted
 */
export async function runHooks(kind: HookKind, run: HookRun): Promise<void> {
  for (const [index, hook] of hooksOf(run.spec, kind).entries()) await runOne(kind, index, hook, run);
}

async function runOne(kind: HookKind, index: number, hook: HookSpec, run: HookRun): Promise<void> {
  const { spec, subject, status, pid, signal } = run;
  signal?.throwIfAborted();
  try {
    await runHook(hook, `${stateDocument(spec, subject, status, pid)}\n`, subject.bundle, signal);
  } catch (error) {
    signal?.throwIfAborted();
    throw hookFailed(kind, index, (error as Error).message, error);
  }
}

/** Runs every poststop hook, whatever the others do: what went wrong is told to `warn`, for the container is gone. */
export async function runPoststop(
  run: Omit<HookRun, 'status' | 'pid'>,
  warn: (warning: RuntimeError) => void,
): Promise<void> {
  for (const [index, hook] of hooksOf(run.spec, 'poststop').entries()) {
    try {
      await runOne('poststop', index, hook, { ...run, status: 'stopped', pid: 0 });
    } catch (error) {
      if (!RuntimeError.is(error)) throw error;
      warn(error);
    }
  }
}

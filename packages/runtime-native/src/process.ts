/**
 * Processes that are started and watched without fork(), SIGCHLD or polling: a spawn whose cost does not grow with this
 * process, and pidfds.
 */
import { helperPath, load } from '#binding';
import type { NativeWatcher } from '#binding';

/** What to start. */
export interface SpawnOptions {
  /** Descriptor of the executable, which must not be a script. Borrowed. */
  exeFd: number;
  /** The whole argument list, the program's name included. */
  argv: readonly string[];
  /** The whole environment, `NAME=value`; nothing is inherited. Default empty. */
  env?: readonly string[];
  /** Descriptors that become 3, 4, … in the child. Borrowed; no others are inherited. */
  fds?: readonly number[];
  /** Descriptor for 0; /dev/null by default. */
  stdin?: number;
  /** Descriptor for 1; /dev/null by default. */
  stdout?: number;
  /** Descriptor for 2; /dev/null by default. */
  stderr?: number;
}

/** A child. Its creator owns the pidfd and must both wait (or leave a zombie) and close it. */
export interface SpawnedProcess {
  pid: number;
  pidfd: number;
}

/** How a child ended: one of the two is a number. */
export type WaitStatus = { code: number; signal: null } | { code: null; signal: number };

/** Options of the waits below. */
export interface WatchOptions {
  signal?: AbortSignal;
  /** Whether the wait keeps the event loop alive. Default true. */
  keepAlive?: boolean;
}

const READABLE = 1;
const WRITABLE = 2;

/**
 * Starts a program with vfork semantics: the child borrows this process's memory until it executes, so the cost (about
 * 0.2 ms) does not grow with the heap. It starts with default signal dispositions, no blocked signals, the caller's
 * working directory, umask and limits, and no signal is sent when it ends.
 *
 * @throws {Error} with `code`, `errno` and `syscall`, also for what fails in the child (`execveat`)
 */
export function spawnProcess(options: SpawnOptions): SpawnedProcess {
  const { exeFd, argv, env = [], fds = [], stdin = -1, stdout = -1, stderr = -1 } = options;
  return load().spawn(exeFd, [...argv], [...env], [stdin, stdout, stderr, ...fds]);
}

let sealedHelper: number | undefined;

/**
 * The static helper as a sealed, executable memory file: what runs from it cannot be overwritten through
 * `/proc/<pid>/exe`. Made at the first call, once per process, and never closed.
 *
 * @throws {Error} `NATIVE_MISSING` before the helper is compiled
 */
export function helperFd(): number {
  return (sealedHelper ??= load().sealedExecutable(helperPath()));
}

/**
 * Absolute path of a static program that is a good pid 1: `<program> -- command arguments…` starts the command, hands
 * signals on to it, reaps orphans, and ends with the command's exit code (128 + signal when one ended it; 127 or 126 when
 * it cannot be executed). To be bound into a container, read-only.
 *
 * @throws {Error} `NATIVE_MISSING` before it is compiled
 */
export function initProgram(): string {
  return helperPath();
}

/** {@link spawnProcess} of the helper. */
export function spawnHelper(options: Omit<SpawnOptions, 'exeFd'>): SpawnedProcess {
  return spawnProcess({ ...options, exeFd: helperFd() });
}

/**
 * A pidfd of a running process, close-on-exec. The caller closes it.
 *
 * @throws {Error} `ESRCH` when there is none
 */
export function pidfdOpen(pid: number): number {
  return load().pidfdOpen(pid);
}

/**
 * Sends a signal by number; 0 only checks.
 *
 * @throws {Error} `ESRCH` when the process has ended and was waited for; a zombie takes any signal
 */
export function pidfdSendSignal(pidfd: number, signal: number): void {
  load().pidfdSendSignal(pidfd, signal);
}

/**
 * Waits for the end of a child made by {@link spawnProcess} and reaps it. Does not close the pidfd.
 *
 * @throws {Error} `ECHILD` when the process is not a child of this one, or was waited for already
 */
export async function waitPidfd(pidfd: number, options: WatchOptions = {}): Promise<WaitStatus> {
  const { waitPidfd: reap } = load();
  const early = reap(pidfd);
  if (early) return early;
  await pidfdExited(pidfd, options);
  const status = reap(pidfd);
  if (!status) throw new Error(`pidfd ${pidfd} is readable but its process has not ended`);
  return status;
}

/** Resolves when the process behind the pidfd has ended, whoever's child it is. Does not reap it. */
export function pidfdExited(pidfd: number, options: WatchOptions = {}): Promise<void> {
  return ready(pidfd, READABLE, options);
}

/** Resolves when a read from `fd` would not block: data, end-of-file or an error. Sets O_NONBLOCK on `fd`. */
export function readable(fd: number, options: WatchOptions = {}): Promise<void> {
  return ready(fd, READABLE, options);
}

/** Resolves when a write to `fd` would not block. Sets O_NONBLOCK on `fd`. */
export function writable(fd: number, options: WatchOptions = {}): Promise<void> {
  return ready(fd, WRITABLE, options);
}

/** A standing watch on a descriptor; see {@link watchReadable}. */
export interface Watcher extends Disposable {
  /** Whether it keeps the event loop alive. It does at first. */
  keepAlive(keepAlive: boolean): void;
  /** Ends the watch. The callback does not run again. Closing twice is fine. */
  close(): void;
}

/**
 * Calls `onReadable` whenever `fd` has something to read, again and again until it was read (level-triggered). Works on
 * an own duplicate of the descriptor, so `fd` may be closed at any time. Sets O_NONBLOCK on it.
 *
 * @throws {Error} `EPERM` for descriptors that cannot be polled, such as regular files
 */
export function watchReadable(fd: number, onReadable: () => void): Watcher {
  const watcher = new (load().Watcher)(fd, READABLE, () => onReadable());
  return {
    keepAlive: (keepAlive) => watcher.keepAlive(keepAlive),
    close: () => watcher.close(),
    [Symbol.dispose]: () => watcher.close(),
  };
}

function ready(fd: number, events: number, options: WatchOptions): Promise<void> {
  const { signal, keepAlive = true } = options;
  if (signal?.aborted) return Promise.reject(signal.reason);
  return new Promise<void>((resolve, reject) => {
    const end = (): void => {
      watcher.close();
      signal?.removeEventListener('abort', onAbort);
    };
    const onAbort = (): void => {
      end();
      reject(signal?.reason);
    };
    // a negative status is a condition too (POLLERR, POLLHUP): the next call on the descriptor tells which
    const watcher: NativeWatcher = new (load().Watcher)(fd, events, () => {
      end();
      resolve();
    });
    watcher.keepAlive(keepAlive);
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}

/** Seals of a memory file, from `<linux/fcntl.h>`. */
export const SEAL = { SEAL: 1, SHRINK: 2, GROW: 4, WRITE: 8, FUTURE_WRITE: 16, EXEC: 32 } as const;

/** An anonymous file in memory, close-on-exec, that can be sealed. The caller closes the descriptor. */
export function memfdCreate(name: string): number {
  return load().memfdCreate(name);
}

/** Adds seals to a memory file, a bit set of {@link SEAL}. */
export function addSeals(fd: number, seals: number): void {
  load().addSeals(fd, seals);
}

/** The seals of a memory file, a bit set of {@link SEAL}. */
export function getSeals(fd: number): number {
  return load().getSeals(fd);
}

/** Closes every descriptor of a list, regardless of errors. */
export function closeFds(fds: readonly number[]): void {
  load().closeFds([...fds]);
}

/**
 * The limit of open files as this package found it when the addon was loaded; -1 is unlimited. Node.js raises the soft
 * limit to the hard one when it starts, before any code of ours can look.
 */
export function openFilesLimit(): { soft: number; hard: number } {
  return load().openFilesLimit;
}

/**
 * Gives memory back that this process can do without for now: what it has freed and the C library keeps for later
 * (malloc_trim(3)), and the parts of its program that it has used at some time, which come back from the page cache when
 * they are used again.
 */
export function trimMemory(): void {
  load().trimMemory();
}

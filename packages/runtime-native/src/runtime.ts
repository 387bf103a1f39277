/**
 * The runtime seam: what a container engine asks of whatever runs its containers.
 *
 * Words: a *bundle* is a root file system and an OCI runtime spec; the *monitor* is the small process beside each
 * container that holds its stdio and records its exit; *created* means set up in full, with the process waiting at the
 * start gate.
 *
 * Life: `create` → created → `start` → running ⇄ paused → stopped → `delete`. Containers outlive the process that made
 * them; `load` and `list` find them again.
 */
import type { Spec } from './spec/index.ts';

/** One file system to mount at the container's root: the same shape as `@tare/layer-store`'s. */
export interface Mount {
  /** `'overlay'` or `'bind'`. */
  type: string;
  source: string;
  /** As mount(8) takes them; for overlay `lowerdir=`, `upperdir=`, `workdir=`, … one option each, topmost layer first. */
  options: string[];
}

export type ContainerStatus = 'creating' | 'created' | 'running' | 'paused' | 'stopped';

/** The state of a container, as OCI runtime-spec `state` with a little more. */
export interface ContainerState {
  id: string;
  status: ContainerStatus;
  /** Host pid of the container's first process; 0 when stopped. */
  pid: number;
  createdAt: Date;
  exit: ExitStatus | undefined;
  /** `bundle` of {@link CreateOptions}, absolute; undefined without one. */
  bundle: string | undefined;
  /** `annotations` of the spec. */
  annotations: Record<string, string>;
}

/** Something that happened to a container. */
export type ContainerEvent =
  /** The OOM killer has struck in the container's cgroup, once or more often. */
  { type: 'oom'; at: Date } | { type: 'exit'; at: Date; status: ExitStatus };

/** How a process ended. */
export interface ExitStatus {
  /** 0 to 255; 128 + signal when it was killed by one. */
  exitCode: number;
  /** The signal's number, when one ended it. */
  signal: number | undefined;
  /** Whether the kernel's OOM killer struck in the container's cgroup. Always false for an exec'd process. */
  oomKilled: boolean;
  exitedAt: Date;
}

/** Where a process's output goes besides the attached clients. */
export interface LogFile {
  /** Absolute; created with mode 0640 when absent, appended to when present. */
  path: string;
  /** `json-file`: one `{"log","stream","time"}` object a line. */
  format: 'json-file';
  /**
   * Bytes after which the file is rotated to `<path>.1`, `.2`, …; unlimited by default. Somebody may compress those to
   * `<path>.1.gz`, …, and changes names only while it holds a lock (flock(2)) on `path`: names are changed by nobody else
   * then.
   */
  maxSizeBytes?: number;
  /** Files kept including the current one; default 1. */
  maxFiles?: number;
}

/** stdio of a process. The monitor holds the other ends, so it survives the caller. */
export interface StdioOptions {
  /** A pseudo-terminal in place of pipes. Default: `spec.process.terminal`. */
  terminal?: boolean;
  /** Keep stdin open for attached clients; otherwise the process reads end-of-file. Default false. */
  openStdin?: boolean;
  /** The first client that closes its stdin closes the process's stdin. Default false. */
  stdinOnce?: boolean;
  /** Initial terminal size. */
  consoleSize?: { columns: number; rows: number };
  log?: LogFile;
  /**
   * Descriptors of the caller that become 0, 1 and 2 of the process, in place of pipes: its output passes through
   * nobody, there is no log, and an attached client sees nothing. Borrowed. With a terminal they are not used.
   */
  inherit?: readonly [stdin: number, stdout: number, stderr: number];
  /**
   * A connected Unix socket that gets the terminal's master (SCM_RIGHTS), as `runc --console-socket` sends it: whoever
   * is at its other end has the terminal, and an attached client sees nothing. Borrowed.
   */
  consoleSocket?: number;
  /** Descriptors of the caller that become 3, 4, … of the process. Borrowed. */
  pass?: readonly number[];
  /**
   * Born as the caller's child, so that when the caller has ended the process goes to whoever reaps its orphans
   * (PR_SET_CHILD_SUBREAPER: conmon, containerd's shim), who can wait for it. When it ends before the caller does, it
   * stays a zombie until {@link Process.wait} is called. For callers that end soon, such as a command; default false.
   */
  reparent?: boolean;
}

/** What every asynchronous call takes last. It rejects with the signal's reason; what the kernel has done, stays. */
export interface CallOptions {
  signal?: AbortSignal;
}

export interface CreateOptions {
  spec: Spec;
  /** The directory that the spec came from: a relative `root.path` starts there. Default: the working directory. */
  bundle?: string;
  /**
   * Mounts that make up the root file system, mounted inside the container's own mount namespace: nothing appears on
   * the host. Default: `spec.root.path` is used as it is.
   */
  rootfs?: Mount[];
  stdio?: StdioOptions;
  /**
   * Looks the program up already now, with the user and the PATH that it will have, so that `create` fails with
   * `EXEC_FAILED` in place of `start`. Default false.
   */
  lookUp?: boolean;
  /**
   * False where pivot_root(2) cannot be had, on an initramfs: chroot(2) takes its place, out of which root with
   * CAP_SYS_CHROOT finds a way. Default true.
   */
  pivot?: boolean;
  /** False leaves the container the session keyring of the caller. Default true. */
  newKeyring?: boolean;
  signal?: AbortSignal;
}

export interface ExecOptions {
  args: string[];
  /** `NAME=value`; the whole environment, nothing is inherited. */
  env: string[];
  /** Absolute, inside the container. Default `/`. */
  cwd?: string;
  user?: { uid: number; gid: number; additionalGids?: number[]; umask?: number };
  /** Capability names (`CAP_…`) per set. Default: those of the container's spec. */
  capabilities?: NonNullable<Spec['process']>['capabilities'];
  noNewPrivileges?: boolean;
  /** Load the container's seccomp filter. Default true. */
  seccomp?: boolean;
  /**
   * Nobody is going to attach: output that no attached client takes is thrown away. Default false: output waits for the
   * first `attach`, which gets all of it from the start; without one the process blocks once a pipe is full, and its
   * monitor stays until this object is disposed of.
   */
  detached?: boolean;
  stdio?: StdioOptions;
  /**
   * By which {@link Container.execs} finds the process again, also when its maker is gone; new in its container, of the
   * form of a container's id. Without one it runs on all the same, and nobody finds it.
   */
  id?: string;
  /** What its maker wants to know of it then. Kept only with an `id`. */
  annotations?: Record<string, string>;
  signal?: AbortSignal;
}

/** One client of a process's stdio. Closing it detaches; the process goes on. */
export interface Attachment extends AsyncDisposable {
  /** Ends when the process has ended and its output is drained, or when the attachment is closed. */
  readonly output: AsyncIterable<{ stream: 'stdout' | 'stderr'; data: Uint8Array }>;
  /** Writes to the process's stdin; resolves when the monitor has taken the bytes (back-pressure). */
  write(data: Uint8Array): Promise<void>;
  /** End of this client's stdin; closes the process's stdin as {@link StdioOptions.stdinOnce} says. */
  closeStdin(): Promise<void>;
  close(): Promise<void>;
}

/** A process with stdio: a container's first one, or an exec'd one. */
export interface Process {
  /** Host pid; 0 before it exists, and of a container that has stopped. */
  readonly pid: number;
  /** Resolves when the process has ended. The same answer for every caller, also after the end. */
  wait(options?: { signal?: AbortSignal }): Promise<ExitStatus>;
  /** @throws {RuntimeError} `NOT_RUNNING` */
  kill(signal: number, options?: CallOptions): Promise<void>;
  /** @throws {RuntimeError} `NOT_A_TERMINAL` */
  resize(size: { columns: number; rows: number }, options?: CallOptions): Promise<void>;
  attach(options?: { stdin?: boolean; signal?: AbortSignal }): Promise<Attachment>;
}

/**
 * An exec'd process. It is running when `exec` resolves. Disposing of the object releases the caller's handles; what is
 * recorded of a process that has an id stays until it is deleted, or its container.
 */
export interface ExecProcess extends Process, AsyncDisposable {
  /** `id` of {@link ExecOptions}. */
  readonly id: string | undefined;
  /** `annotations` of {@link ExecOptions}. */
  readonly annotations: Readonly<Record<string, string>>;
  /** Forgets a process that has ended. @throws {RuntimeError} `STILL_RUNNING` */
  delete(): Promise<void>;
}

/** A container. Disposing of the object releases the caller's handles only; the container goes on. */
export interface Container extends Process, AsyncDisposable {
  readonly id: string;
  /** The spec that it was made from. */
  readonly spec: Spec;
  state(options?: CallOptions): Promise<ContainerState>;
  /**
   * Opens the start gate; resolves when the process's program has been executed.
   *
   * @throws {RuntimeError} `EXEC_FAILED` with `errno` when the program cannot be executed (the container is then stopped)
   */
  start(options?: CallOptions): Promise<void>;
  /** Signals every process of the container, through its cgroup. */
  killAll(signal: number, options?: CallOptions): Promise<void>;
  /** Stops every process; resolves when they have stopped. @throws {RuntimeError} `NOT_RUNNING` */
  pause(options?: CallOptions): Promise<void>;
  resume(options?: CallOptions): Promise<void>;
  /** Changes cgroup limits; fields left out keep their values. */
  update(
    resources: NonNullable<NonNullable<Spec['linux']>['resources']>,
    options?: CallOptions,
  ): Promise<void>;
  stats(options?: CallOptions): Promise<ContainerStats>;
  /** Host pids of every process in the container. */
  pids(options?: CallOptions): Promise<number[]>;
  /**
   * What happens to the container from now on, in order; ends after its exit, which is the only event of a container
   * that has stopped. Without a memory controller there is no `oom` before the exit.
   */
  events(options?: CallOptions): AsyncIterable<ContainerEvent>;
  /** @throws {RuntimeError} `EXEC_FAILED` as {@link start}; `ALREADY_EXISTS` for an `id` that is taken */
  exec(options: ExecOptions): Promise<ExecProcess>;
  /**
   * The processes that were executed with an `id` and not deleted since, by whomever, in no order: those that run, and
   * those that have ended.
   */
  execs(options?: CallOptions): Promise<ExecProcess[]>;
  /**
   * Removes what the runtime keeps of a stopped container: cgroups, state directory, monitor.
   *
   * @throws {RuntimeError} `STILL_RUNNING` unless `force`, which kills first
   */
  delete(options?: { force?: boolean; signal?: AbortSignal }): Promise<void>;
}

/** Resource use, read from the container's cgroups. Absent controllers leave their field undefined. */
export interface ContainerStats {
  readAt: Date;
  cpu?: {
    usageNs: bigint;
    userNs: bigint;
    systemNs: bigint;
    throttledPeriods: bigint;
    periods: bigint;
    throttledNs: bigint;
  };
  memory?: {
    usageBytes: bigint;
    /** Undefined when unlimited. */
    limitBytes: bigint | undefined;
    maxUsageBytes: bigint | undefined;
    failures: bigint;
    /** The raw keys of memory.stat. */
    stat: Record<string, bigint>;
  };
  pids?: { current: number; limit: number | undefined };
  io?: { major: number; minor: number; op: 'read' | 'write'; bytes: bigint; operations: bigint }[];
}

/** Runs containers. Making one starts nothing and forks nothing. */
export interface Runtime {
  /**
   * Sets a container up in full and stops at the start gate. A failure at any step undoes the ones before it.
   *
   * @throws {RuntimeError} `ALREADY_EXISTS`, `INVALID_SPEC` with the JSON path of the field, `UNSUPPORTED`, or the
   *   failed step with `syscall`, `errno` and `path`
   */
  create(id: string, options: CreateOptions): Promise<Container>;
  /**
   * {@link create} and {@link Container.start}. A container that does not start is deleted. Output that nobody has
   * attached to yet is lost, so callers who want it from the first byte create, attach and start.
   *
   * @throws {RuntimeError} as both of them
   */
  run(id: string, options: CreateOptions): Promise<Container>;
  /** Finds a container that an earlier process made. @throws {RuntimeError} `NOT_FOUND` */
  load(id: string, options?: CallOptions): Promise<Container>;
  /** Every container below this runtime's state directory. */
  list(options?: CallOptions): Promise<ContainerState[]>;
}

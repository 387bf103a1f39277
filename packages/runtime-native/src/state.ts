/**
 * The state directory: what is kept of a container on disk, and how what a crash left is told from what lives.
 *
 * Layout, below the runtime's directory (mode 0700, best on a tmpfs: nothing in it means anything after a reboot):
 *
 *   <id>/config.json   what the runtime was asked for; written before anything is made
 *   <id>/pid           written by the monitor once the container is set up in full
 *   <id>/exit          written by the monitor when the process has ended
 *   <id>/ctl.sock      the monitor listens here
 *   <id>/exec/<id>/    the same for exec'd processes; `.<random>` for those without an id, which have no config.json
 *   .new-…, .old-…     being made, being removed
 *
 * A directory gets its id by rename(2) with config.json in it and loses it the same way, so an id is either there or
 * not. The names of `.new-…` and `.old-…` hold pid and start time of their maker: once that is gone, anybody sweeps.
 */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';

import { RuntimeError } from './errors.ts';
import type { RdtGroups } from './intel-rdt.ts';
import type { ExitStatus } from './runtime.ts';
import type { Spec } from './spec/config.ts';

/** `config.json` of the state directory. */
export interface ContainerRecord {
  version: 1;
  createdAt: string;
  spec: Spec;
  /** Path of the container's cgroup below the root of each hierarchy. */
  cgroup: string;
  terminal: boolean;
  /** Of `linux.intelRdt`. */
  rdt?: RdtGroups | undefined;
  /** Absolute; what the caller calls the container's bundle. */
  bundle?: string | undefined;
  /** Working directory of the maker, which stands in for a bundle. */
  cwd: string;
  maker: ProcessId;
}

/** `config.json` of an exec'd process. */
export interface ExecRecord {
  version: 1;
  terminal: boolean;
  annotations: Record<string, string>;
  maker: ProcessId;
}

/** A process that cannot be mistaken for a later one of the same number. */
export interface ProcessId {
  pid: number;
  /** Field 22 of `/proc/<pid>/stat`. */
  startTicks: number;
}

/** `pid` of the state directory. */
export interface PidRecord extends ProcessId {
  monitorPid: number;
  monitorStartTicks: number;
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // ESRCH: a file of procfs whose process has just ended
    if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'ESRCH') return undefined;
    throw error;
  }
}

function readJson(path: string): unknown {
  const text = readText(path);
  return text === undefined ? undefined : JSON.parse(text);
}

/** When a process started, in clock ticks after boot; undefined when there is none, or only a zombie. */
export function startTicks(pid: number): number | undefined {
  const stat = readText(`/proc/${pid}/stat`);
  // the name in parentheses may hold anything
  const fields = stat?.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields && fields[0] !== 'Z' && fields[0] !== 'X' ? Number(fields[19]) : undefined;
}

/** Whether exactly this process lives. */
export function isAlive({ pid, startTicks: since }: ProcessId): boolean {
  return startTicks(pid) === since;
}

let self: ProcessId | undefined;

/** This process. */
export function ownProcess(): ProcessId {
  return (self ??= { pid: process.pid, startTicks: startTicks(process.pid) ?? 0 });
}

/** A monitor renames a file twice in its life; a test does it all the time. */
const REMOVE_ATTEMPTS = 100;

/**
 * Removes a directory in which the monitors of exec'd processes may still record how these ended: rmSync gives up, and
 * says nothing, when a file gets another name under its hands.
 */
function removeTree(path: string): void {
  for (let attempt = 0; attempt < REMOVE_ATTEMPTS && existsSync(path); attempt++) {
    rmSync(path, { recursive: true, force: true });
  }
}

/** The containers below one state directory. Every call is a few synchronous file operations on small files. */
export class StateDirectory {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  directory(id: string): string {
    return join(this.path, id);
  }

  #temporary(kind: 'new' | 'old'): string {
    const { pid, startTicks: ticks } = ownProcess();
    return mkdtempSync(join(this.path, `.${kind}-${pid}-${ticks}-`));
  }

  /** Claims an id. @throws {RuntimeError} `ALREADY_EXISTS` */
  create(id: string, record: ContainerRecord): string {
    mkdirSync(this.path, { recursive: true, mode: 0o700 });
    const temporary = this.#temporary('new');
    try {
      writeFileSync(join(temporary, 'config.json'), JSON.stringify(record), { mode: 0o600 });
      renameSync(temporary, this.directory(id));
    } catch (error) {
      // opens nothing: descriptors may be what there is too little of
      rmSync(join(temporary, 'config.json'), { force: true });
      rmdirSync(temporary);
      const { code } = error as NodeJS.ErrnoException;
      if (code !== 'ENOTEMPTY' && code !== 'EEXIST' && code !== 'ENOTDIR') throw error;
      throw new RuntimeError('ALREADY_EXISTS', `a container with the id ${id} exists already`, {
        cause: error,
      });
    }
    return this.directory(id);
  }

  /** Gives an id back and removes everything below its directory. Removing twice is fine. */
  remove(id: string): void {
    let temporary: string | undefined;
    try {
      temporary = this.#temporary('old');
      renameSync(this.directory(id), temporary);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    } finally {
      if (temporary) removeTree(temporary);
    }
  }

  /** Every id, including those of containers that are only half made. */
  ids(): string[] {
    return this.#names().filter((name) => !name.startsWith('.'));
  }

  #names(): string[] {
    try {
      return readdirSync(this.path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw error;
    }
  }

  /** Removes directories that were being made or removed by processes that are gone. */
  sweep(): void {
    for (const name of this.#names()) {
      const match = /^\.(?:new|old)-(\d+)-(\d+)-/.exec(name);
      if (match && !isAlive({ pid: Number(match[1]), startTicks: Number(match[2]) })) {
        rmSync(join(this.path, name), { recursive: true, force: true });
      }
    }
  }

  record(id: string): ContainerRecord | undefined {
    return readJson(join(this.directory(id), 'config.json')) as ContainerRecord | undefined;
  }

  pid(id: string): PidRecord | undefined {
    return readJson(join(this.directory(id), 'pid')) as PidRecord | undefined;
  }
}

export function readExecRecord(directory: string): ExecRecord | undefined {
  return readJson(join(directory, 'config.json')) as ExecRecord | undefined;
}

/** Visible at once and whole. */
export function writeExecRecord(directory: string, record: ExecRecord): void {
  writeFileSync(join(directory, 'config.tmp'), JSON.stringify(record), { mode: 0o600 });
  renameSync(join(directory, 'config.tmp'), join(directory, 'config.json'));
}

/** Whether the process of a state directory was set up in full. */
export function hasPid(directory: string): boolean {
  return existsSync(join(directory, 'pid'));
}

/** How the process of a state directory ended, as its monitor recorded it. */
export function readExit(directory: string): ExitStatus | undefined {
  const exit = readJson(join(directory, 'exit')) as
    | { exitCode: number; signal: number; oomKilled: boolean; exitedAtNs: string }
    | undefined;
  return (
    exit && {
      exitCode: exit.exitCode,
      signal: exit.signal === 0 ? undefined : exit.signal,
      oomKilled: exit.oomKilled,
      exitedAt: new Date(Number(BigInt(exit.exitedAtNs) / 1_000_000n)),
    }
  );
}

/** Records an end that the monitor did not live to record. */
export function writeExit(directory: string, status: ExitStatus): void {
  const text = JSON.stringify({
    exitCode: status.exitCode,
    signal: status.signal ?? 0,
    oomKilled: status.oomKilled,
    exitedAtNs: `${status.exitedAt.getTime()}000000`,
  });
  writeFileSync(join(directory, 'exit.tmp'), text, { mode: 0o600 });
  renameSync(join(directory, 'exit.tmp'), join(directory, 'exit'));
}

/**
 * A further process in a container: launched beside it, with a monitor and a directory of its own, `<container>/exec/<id>`,
 * or `<container>/exec/.<random>` for one that nobody looks for again.
 */
import { closeSync, constants, mkdirSync, mkdtempSync, openSync, readdirSync, rmSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';

import { caller } from './caller.ts';
import { RuntimeError } from './errors.ts';
import { PHASE } from './helper/message.ts';
import { joinRdtGroups } from './intel-rdt.ts';
import type { RdtGroups } from './intel-rdt.ts';
import { LOST_EXIT_CODE, MonitoredProcess } from './native-process.ts';
import { compileExec } from './plan/compile.ts';
import type { CgroupPlacement } from './plan/context.ts';
import type { HookSubject } from './plan/hooks.ts';
import { encodePlan } from './plan/operations.ts';
import { parseExec } from './plan/validate.ts';
import type { Attachment, CallOptions, ExecOptions, ExecProcess, ExitStatus } from './runtime.ts';
import { seccompFilter } from './seccomp-filter.ts';
import { securityModules } from './security-modules.ts';
import type { Spec } from './spec/config.ts';
import { hasPid, isAlive, ownProcess, readExecRecord, writeExecRecord } from './state.ts';
import type { ProcessId } from './state.ts';

/** See {@link ExecProcess}. */
class NativeExec implements ExecProcess {
  readonly id: string | undefined;
  readonly annotations: Readonly<Record<string, string>>;
  readonly #process: MonitoredProcess;

  constructor(process: MonitoredProcess, { id, annotations = {} }: Pick<ExecOptions, 'id' | 'annotations'>) {
    this.#process = process;
    this.id = id;
    this.annotations = annotations;
  }

  get pid(): number {
    return this.#process.pid;
  }

  async wait(options?: { signal?: AbortSignal }): Promise<ExitStatus> {
    return { ...(await this.#process.wait(options)), oomKilled: false };
  }

  kill(signal: number, options?: CallOptions): Promise<void> {
    return this.#process.kill(signal, options);
  }

  resize(size: { columns: number; rows: number }, options?: CallOptions): Promise<void> {
    return this.#process.resize(size, options);
  }

  attach(options?: { stdin?: boolean; signal?: AbortSignal }): Promise<Attachment> {
    return this.#process.attach(options);
  }

  async delete(): Promise<void> {
    const { exit, directory, what } = this.#process;
    if (!exit) throw new RuntimeError('STILL_RUNNING', `${what} runs: kill it first, and wait for its end`);
    this.#process.release();
    await rm(directory, { recursive: true, force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // what nobody can look for is of no use any more
    if (this.id === undefined && this.#process.exit) await this.delete();
    else this.#process.release();
  }
}

/** The container that a process is to join. */
export interface ExecTarget {
  id: string;
  spec: Spec;
  /** Its first process, whose namespaces are joined. */
  process: ProcessId;
  /** State directory of the container, below which the process gets one. */
  directory: string;
  cgroups: CgroupPlacement | undefined;
  rdt: RdtGroups | undefined;
  subject: HookSubject;
}

/**
 * Starts the process; nothing is left of it when that fails.
 *
 * @throws {RuntimeError} as {@link Container.exec} does
 */
export async function launchExec(target: ExecTarget, options: ExecOptions): Promise<ExecProcess> {
  const { id, spec, rdt } = target;
  const seccomp = options.seccomp === false ? undefined : spec.linux?.seccomp;
  const plan = encodePlan(
    compileExec(
      spec,
      parseExec(options),
      { pid: target.process.pid, startTicks: BigInt(target.process.startTicks) },
      {
        cgroups: target.cgroups,
        seccomp: seccomp && seccompFilter(seccomp),
        subject: target.subject,
        caller: caller(),
        securityModules: securityModules(),
      },
    ),
  );

  const directory = makeDirectory(join(target.directory, 'exec'), options.id);
  const terminal = options.stdio?.terminal ?? false;
  let fd = -1;
  try {
    if (options.id !== undefined) {
      const { annotations = {} } = options;
      writeExecRecord(directory, { version: 1, terminal, annotations, maker: ownProcess() });
    }
    fd = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
    const process = processAt(directory, id, terminal);
    await process.launch(plan, fd, PHASE.RUNNING, options);
    if (rdt) joinRdtGroups(rdt, process.pid);
    return new NativeExec(process, options);
  } catch (error) {
    rmSync(directory, { recursive: true, force: true });
    throw error;
  } finally {
    if (fd >= 0) closeSync(fd);
  }
}

/** Claims the directory of a new process. @throws {RuntimeError} `ALREADY_EXISTS` */
function makeDirectory(parent: string, id: string | undefined): string {
  mkdirSync(parent, { recursive: true, mode: 0o700 });
  if (id === undefined) return mkdtempSync(`${parent}/.`);
  const directory = join(parent, id);
  try {
    mkdirSync(directory, { mode: 0o700 });
    return directory;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    throw new RuntimeError('ALREADY_EXISTS', `a process with the id ${id} exists already in its container`, {
      cause: error,
    });
  }
}

function processAt(directory: string, container: string, terminal: boolean): MonitoredProcess {
  return new MonitoredProcess(directory, {
    what: `a process in container ${container}`,
    terminal,
    onLost: async () => ({
      exitCode: LOST_EXIT_CODE,
      signal: undefined,
      oomKilled: false,
      exitedAt: new Date(),
    }),
  });
}

/**
 * The processes with an id, whoever has made them. What a dead maker left half made is removed.
 *
 * @param directory state directory of the container
 */
export async function findExecs(container: string, directory: string): Promise<ExecProcess[]> {
  const found: NativeExec[] = [];
  const parent = join(directory, 'exec');
  for (const id of namesIn(parent)) {
    const place = join(parent, id);
    const record = readExecRecord(place);
    if (!record) continue;
    if (!hasPid(place)) {
      if (!isAlive(record.maker)) rmSync(place, { recursive: true, force: true });
      continue;
    }
    const process = processAt(place, container, record.terminal);
    await process.reconnect();
    found.push(new NativeExec(process, { id, annotations: record.annotations }));
  }
  return found;
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory).filter((name) => !name.startsWith('.'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

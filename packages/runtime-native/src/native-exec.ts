/** A further process in a container: launched beside it, with a monitor and a directory of its own. */
import { closeSync, constants, mkdirSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { join } from 'node:path';

import { caller } from './caller.ts';
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
import type { ProcessId } from './state.ts';

/** See {@link ExecProcess}. */
class NativeExec implements ExecProcess {
  readonly #process: MonitoredProcess;

  constructor(process: MonitoredProcess) {
    this.#process = process;
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

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.release();
    // its records are for this object only
    if (this.#process.exit) rmSync(this.#process.directory, { recursive: true, force: true });
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

  const parent = join(target.directory, 'exec');
  mkdirSync(parent, { recursive: true, mode: 0o700 });
  const directory = mkdtempSync(`${parent}/`);
  const fd = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  const process = new MonitoredProcess(directory, {
    what: `a process in container ${id}`,
    terminal: options.stdio?.terminal ?? false,
    onLost: async () => ({
      exitCode: LOST_EXIT_CODE,
      signal: undefined,
      oomKilled: false,
      exitedAt: new Date(),
    }),
  });
  try {
    await process.launch(plan, fd, PHASE.RUNNING, options);
    if (rdt) joinRdtGroups(rdt, process.pid);
    return new NativeExec(process);
  } catch (error) {
    rmSync(directory, { recursive: true, force: true });
    throw error;
  } finally {
    closeSync(fd);
  }
}

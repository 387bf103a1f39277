/** Further processes in running containers. */
import type { ExecProcess } from '@tare/runtime-native';
import { CAPABILITIES, capabilitySets } from '@tare/runtime-native/spec';

import { conflict, invalid, notFound } from '../errors.ts';
import type { HijackedStream } from '../http/hijack.ts';
import { containerCapabilities } from './capabilities.ts';
import { parseDetachKeys } from './detach-keys.ts';
import {
  newExec,
  renderExec,
  type Exec,
  type ExecCreateRequest,
  type ExecStartRequest,
} from './exec-record.ts';
import { processEnv } from './merge-config.ts';
import { newId } from './names.ts';
import { readFromRoot } from './root-files.ts';
import { execStartFailure } from './runtime-errors.ts';
import { consoleSizeOf } from './runtime-spec.ts';
import { containerHostname } from './spec-inputs.ts';
import { OutputCapture } from './output-capture.ts';
import { StdioClient } from './stdio-client.ts';
import type { LiveContainer } from './store.ts';
import { resolveUser } from './user.ts';
import type { ContainerWorld } from './world.ts';

/** How long an ended exec can still be inspected. */
const KEEP_ENDED_MS = 5 * 60_000;
/** How long an engine that comes back still knows of it: long enough for the client that waited for its end. */
const KEEP_RECORDED_MS = 10_000;

const SIGKILL = 9;

/** Annotation of an exec'd process: the {@link ExecCreateRequest} it comes from, as JSON. */
const REQUEST = 'request';

/** The execs of an engine's containers. What has been started outlives the engine, and the next one finds it again. */
export class Execs implements AsyncDisposable {
  readonly #world: ContainerWorld;
  readonly #execs = new Map<string, Exec>();
  readonly #closing = new AbortController();
  readonly #background = new Set<Promise<void>>();
  /** Who waits for the end of an exec, by its id. */
  readonly #waiters = new Map<string, (() => void)[]>();

  constructor(world: ContainerWorld) {
    this.#world = world;
  }

  /**
   * Prepares an exec.
   *
   * @throws {EngineError} `CONFLICT` when the container does not run or is paused; `INVALID` without a command
   */
  create(container: LiveContainer, request: ExecCreateRequest): string {
    this.#forgetOld();
    checkRunning(container);
    if (!request.Cmd?.length || request.Cmd[0] === '') throw invalid('No exec command specified');
    parseDetachKeys(request.DetachKeys ?? '');
    const id = newId();
    const exec = newExec(id, container, request);
    this.#execs.set(id, exec);
    this.#publish(exec, `exec_create: ${request.Cmd.join(' ')}`);
    return id;
  }

  /** Finds what an earlier engine has started in a container, to be inspected as before. */
  async restore(container: LiveContainer): Promise<void> {
    for (const process of (await container.handle?.execs()) ?? []) {
      const { id, pid, annotations } = process;
      if (id === undefined || annotations[REQUEST] === undefined) continue;
      const request = JSON.parse(annotations[REQUEST]) as ExecCreateRequest;
      const exec = newExec(id, container, request);
      this.#execs.set(id, exec);
      Object.assign(exec, { started: true, process, pid });
      if (pid > 0) {
        exec.running = true;
        this.#watch(exec, process);
        continue;
      }
      // whether its end was told is not known any more; told twice would be worse
      const { exitCode, exitedAt } = await process.wait();
      Object.assign(exec, { exitCode, endedAtMs: exitedAt.getTime() });
      await process[Symbol.asyncDispose]();
    }
  }

  #forgetOld(): void {
    const now = Date.now();
    for (const exec of this.#execs.values()) {
      const gone = this.#world.store.get(exec.container.id) !== exec.container;
      const endedMs = exec.endedAtMs === undefined ? 0 : now - exec.endedAtMs;
      if (gone || endedMs > KEEP_ENDED_MS) this.#execs.delete(exec.id);
      // of a container that is gone nothing is left
      if (!gone && endedMs > KEEP_RECORDED_MS && exec.process) {
        this.#later(exec, exec.process.delete());
        exec.process = undefined;
      }
    }
  }

  /** Work that nobody waits for, but the end of the engine. */
  #later(exec: Exec, work: Promise<void>): void {
    const done = work
      .catch((error: unknown) => {
        this.#world.log.debug({ err: error, exec: exec.id }, 'what was kept of an exec could not be removed');
      })
      .finally(() => this.#background.delete(done));
    this.#background.add(done);
  }

  #find(id: string): Exec {
    const exec = this.#execs.get(id);
    if (!exec || this.#world.store.get(exec.container.id) !== exec.container) {
      throw notFound(`No such exec instance: ${id}`);
    }
    return exec;
  }

  /** Ids of a container's running execs; null when there are none. */
  running(containerId: string): string[] | null {
    const ids = [...this.#execs.values()]
      .filter((exec) => exec.container.id === containerId && exec.running)
      .map(({ id }) => id);
    return ids.length > 0 ? ids : null;
  }

  /**
   * Starts an exec, and stays with its client until it has ended, unless `Detach`.
   *
   * Once the connection is taken over, a failure to start is text in the stream: the client learns the exit code by
   * inspecting.
   *
   * @throws {EngineError} `NOT_FOUND`, `CONFLICT`; with `Detach` also why it could not be started
   */
  async start(
    id: string,
    request: ExecStartRequest,
    hijack: (multiplexed: boolean) => Promise<HijackedStream>,
    signal: AbortSignal,
  ): Promise<'detached' | 'streamed'> {
    const exec = this.#find(id);
    if (exec.started) throw conflict(`exec ${id} has already ${exec.running ? 'started' : 'run'}`);
    checkRunning(exec.container);
    exec.started = true;
    if (request.ConsoleSize) exec.request.ConsoleSize = request.ConsoleSize;
    if (request.Detach === true) {
      await this.#run(exec, undefined);
      return 'detached';
    }
    const terminal = exec.request.Tty === true;
    const { duplex } = await hijack(!terminal);
    const client = new StdioClient(duplex, {
      stdin: exec.request.AttachStdin === true,
      stdout: exec.request.AttachStdout === true,
      stderr: exec.request.AttachStderr === true,
      terminal,
      multiplexed: !terminal,
      detachKeys: parseDetachKeys(exec.request.DetachKeys ?? ''),
      endsWithInput: false,
      signal,
    });
    try {
      await this.#run(exec, client);
      if ((await client.done) === 'detached') this.#publish(exec, 'exec_detach');
      else if (!signal.aborted) await this.#ended(exec);
    } catch (error) {
      client.writeText(`${(error as Error).message}\r\n`);
      client.end();
    }
    duplex.end();
    return 'streamed';
  }

  /**
   * Runs a command of the engine's own to its end and keeps the beginning of its output; kills it when it takes too long.
   *
   * @throws {EngineError} why it could not be started; the signal's reason, once it is killed
   */
  async capture(
    container: LiveContainer,
    request: ExecCreateRequest,
    options: { timeoutMs: number; limitBytes: number; signal: AbortSignal },
  ): Promise<{ exitCode: number; output: string; timedOut: boolean }> {
    const exec = this.#find(this.create(container, request));
    exec.started = true;
    const output = new OutputCapture(options.limitBytes);
    await this.#run(exec, output, { outlives: false });
    const ended = this.#ended(exec);
    const timeout = AbortSignal.timeout(options.timeoutMs);
    const stop = AbortSignal.any([timeout, options.signal]);
    const kill = (): void => {
      exec.process?.kill(SIGKILL).catch((error: unknown) => {
        this.#world.log.debug({ err: error, exec: exec.id }, 'it had ended when it was to be killed');
      });
    };
    if (stop.aborted) kill();
    else stop.addEventListener('abort', kill, { once: true });
    await ended;
    stop.removeEventListener('abort', kill);
    options.signal.throwIfAborted();
    return { exitCode: exec.exitCode ?? -1, output: await output.text(), timedOut: timeout.aborted };
  }

  /** @param options.outlives - an engine after this one is to find it again */
  async #run(
    exec: Exec,
    client: Pick<StdioClient, 'connect'> | undefined,
    { outlives = true }: { outlives?: boolean } = {},
  ): Promise<void> {
    const { container, request } = exec;
    const { record } = container;
    const [program = '', ...args] = request.Cmd ?? [];
    this.#publish(exec, `exec_start: ${[program, ...args].join(' ')}`);
    try {
      const { handle } = container;
      if (!handle) throw conflict(`container ${container.id} is not running`);
      const root = `/proc/${container.state.pid}/root`;
      const user = resolveUser(
        request.User || record.config.User || '',
        request.User ? [] : (record.hostConfig.GroupAdd ?? []),
        {
          passwd: readFromRoot(root, '/etc/passwd', this.#world.syscalls),
          group: readFromRoot(root, '/etc/group', this.#world.syscalls),
        },
      );
      const config = {
        ...record.config,
        Tty: request.Tty === true,
        Env: [...(record.config.Env ?? []), ...(request.Env ?? [])],
      };
      const env = processEnv(config, containerHostname(record));
      if (!env.some((entry) => entry.startsWith('HOME='))) env.push(`HOME=${user.home}`);
      const names = request.Privileged ? [...CAPABILITIES] : containerCapabilities(record.hostConfig);
      const sets = capabilitySets(names);
      const size = consoleSizeOf(request.ConsoleSize);
      const process = await handle.exec({
        args: [program, ...args],
        env,
        cwd: request.WorkingDir || record.config.WorkingDir || '/',
        user: { uid: user.uid, gid: user.gid, additionalGids: [...user.additionalGids] },
        capabilities: user.uid === 0 || request.Privileged ? sets : { bounding: sets.bounding ?? [] },
        seccomp: request.Privileged !== true,
        detached: client === undefined,
        ...(outlives ? { id: exec.id, annotations: { [REQUEST]: JSON.stringify(request) } } : {}),
        stdio: {
          terminal: request.Tty === true,
          openStdin: client !== undefined && request.AttachStdin === true,
          stdinOnce: request.Tty !== true,
          ...(size ? { consoleSize: { columns: size.width, rows: size.height } } : {}),
        },
      });
      exec.process = process;
      exec.pid = process.pid;
      exec.running = true;
      try {
        await client?.connect(process);
      } finally {
        // not before: at its end the process is let go of, and a short one ends before its client has come
        this.#watch(exec, process);
      }
    } catch (error) {
      const failure = execStartFailure(error, program);
      exec.exitCode = failure.exitCode;
      exec.endedAtMs = Date.now();
      throw failure.error;
    }
  }

  #watch(exec: Exec, process: ExecProcess): void {
    const done = (async () => {
      let exitCode: number;
      try {
        ({ exitCode } = await process.wait({ signal: this.#closing.signal }));
      } catch (error) {
        if (this.#closing.signal.aborted) return;
        this.#world.log.debug({ err: error, exec: exec.id }, 'the end of an exec was not seen');
        exitCode = 255;
      }
      exec.running = false;
      exec.exitCode = exitCode;
      exec.endedAtMs = Date.now();
      this.#publish(exec, 'exec_die', { exitCode: String(exitCode) });
      await process[Symbol.asyncDispose]();
    })().finally(() => {
      this.#background.delete(done);
      this.#waiters.get(exec.id)?.forEach((wake) => wake());
      this.#waiters.delete(exec.id);
    });
    this.#background.add(done);
  }

  /** The client inspects right after its connection ends: the exit code is there by then. */
  #ended(exec: Exec): Promise<void> {
    if (!exec.running) return Promise.resolve();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiters.set(exec.id, [...(this.#waiters.get(exec.id) ?? []), resolve]);
    return promise;
  }

  /** @throws {EngineError} `NOT_FOUND`; `INVALID` before its start */
  async resize(id: string, size: { columns: number; rows: number }): Promise<void> {
    const exec = this.#find(id);
    if (!exec.process || !exec.running) throw invalid('exec process is not started');
    await exec.process.resize(size);
  }

  /** `GET /exec/{id}/json`. @throws {EngineError} `NOT_FOUND` */
  inspect(id: string): unknown {
    return renderExec(this.#find(id));
  }

  #publish(exec: Exec, action: string, attributes: Record<string, string> = {}): void {
    this.#world.store.publish(exec.container, action, { execID: exec.id, ...attributes });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new Error('the engine is shutting down'));
    await Promise.all(this.#background);
  }
}

function checkRunning(container: LiveContainer): void {
  const { state } = container;
  if (!state.running) throw conflict(`container ${container.id} is not running`);
  if (state.paused) {
    throw conflict(`container ${container.id} is paused, unpause the container before exec`);
  }
  if (state.restarting) {
    throw conflict(`container ${container.id} is restarting, wait until the container is running`);
  }
}

/** The runtime of this package: containers made by the static helper, found again through their state directory. */
import { basename, resolve } from 'node:path';

import { createCgroup, openCgroup } from './cgroups/cgroups.ts';
import type { Cgroup } from './cgroups/cgroups.ts';
import { RuntimeError } from './errors.ts';
import { runHooks, runPoststop } from './hooks.ts';
import type { HookRun } from './hooks.ts';
import { NativeContainer, availableCapabilities, placementOf } from './native-container.ts';
import { compileContainer, processOf } from './plan/compile.ts';
import type { HookSubject } from './plan/hooks.ts';
import { encodePlan, formatPlan } from './plan/operations.ts';
import type { Plan } from './plan/operations.ts';
import { isTerminal } from './plan/process.ts';
import { checkId, parseSpec } from './plan/validate.ts';
import type { CallOptions, Container, ContainerState, CreateOptions, Runtime } from './runtime.ts';
import { seccompFilter } from './seccomp-filter.ts';
import { securityModules } from './security-modules.ts';
import type { Spec } from './spec/config.ts';
import { StateDirectory, isAlive, ownProcess } from './state.ts';
import type { ContainerRecord } from './state.ts';

/** Where a runtime keeps things. */
export interface NativeRuntimeOptions {
  /** Absolute or relative to the working directory; made with mode 0700. Best on a tmpfs such as /run. */
  stateDirectory: string;
  /** Cgroup below which containers get theirs, in every hierarchy. Default `/tare`. */
  cgroupRoot?: string;
  /** Told of what went wrong where nothing can fail any more: a poststop hook. Default: `process.emitWarning`. */
  onWarning?: (warning: RuntimeError) => void;
}

/**
 * A runtime on this machine's kernel. Makes nothing and starts nothing until `create`.
 *
 * Several runtimes, in several processes, may share a state directory.
 */
export function createNativeRuntime(options: NativeRuntimeOptions): Runtime {
  const {
    stateDirectory,
    cgroupRoot = '/tare',
    onWarning = (warning) => process.emitWarning(warning),
  } = options;
  return new NativeRuntime(resolve(stateDirectory), cgroupRoot, onWarning);
}

/** Input of {@link plan} besides the spec. */
export interface PlanOptions extends Omit<CreateOptions, 'spec' | 'signal'> {
  /** Where the container's state would be. Default `/run/tare/container`. */
  stateDirectory?: string;
  /** The container's cgroup in every hierarchy. Default `/tare/container`. */
  cgroupPath?: string;
}

/** What the helper would do, in order. As a string: one operation a line. */
export interface LaunchPlan {
  readonly operations: Plan;
  toString(): string;
}

/**
 * The launch plan of a container, without making anything: exactly what `create` hands to the helper. Cgroup limits are
 * not in it; they are set before the helper starts.
 *
 * @throws {RuntimeError} `INVALID_SPEC` or `UNSUPPORTED` with `field`, as {@link Runtime.create} does
 * @example
 * console.log(String(plan(spec)));
 */
export function plan(spec: Spec, options: PlanOptions = {}): LaunchPlan {
  const { stateDirectory = '/run/tare/container', cgroupPath = '/tare/container' } = options;
  const checked = parseSpec(spec);
  const subject = { id: basename(stateDirectory), bundle: resolve(options.bundle ?? '.') };
  const operations = compile(checked, options, subject, stateDirectory, openCgroup(cgroupPath));
  return { operations, toString: () => formatPlan(operations) };
}

function compile(
  spec: Spec,
  options: Omit<CreateOptions, 'spec'>,
  subject: HookSubject,
  directory: string,
  cgroup: Cgroup,
): Plan {
  return compileContainer(spec, {
    scratch: directory,
    subject,
    rootfs: options.rootfs,
    stdio: options.stdio ?? {},
    cgroups: placementOf(cgroup),
    seccomp: spec.linux?.seccomp && seccompFilter(spec.linux.seccomp),
    available: availableCapabilities(),
    securityModules: securityModules(),
  });
}

/** The spec with a root that can be found from anywhere. */
function inBundle(spec: Spec, bundle: string | undefined): Spec {
  if (bundle === undefined || !spec.root) return spec;
  return { ...spec, root: { ...spec.root, path: resolve(bundle, spec.root.path) } };
}

/** The hooks that this process runs while a container is being made. */
class CreateHooks {
  readonly #run: Omit<HookRun, 'pid'>;
  begun = false;

  constructor(spec: Spec, subject: HookSubject, signal: AbortSignal | undefined) {
    this.#run = { spec, subject, status: 'creating', signal };
  }

  async run(pid: number): Promise<void> {
    this.begun = true;
    await runHooks('prestart', { ...this.#run, pid });
    await runHooks('createRuntime', { ...this.#run, pid });
  }
}

function hookOfContainer(error: unknown): boolean {
  return RuntimeError.is(error) && error.code === 'HOOK_FAILED';
}

class NativeRuntime implements Runtime {
  readonly #state: StateDirectory;
  readonly #cgroupRoot: string;
  readonly #warn: (warning: RuntimeError) => void;

  constructor(stateDirectory: string, cgroupRoot: string, warn: (warning: RuntimeError) => void) {
    this.#state = new StateDirectory(stateDirectory);
    this.#cgroupRoot = cgroupRoot;
    this.#warn = warn;
  }

  #cgroupPath(id: string, spec: Spec): string {
    const asked = spec.linux?.cgroupsPath;
    if (!asked) return `${this.#cgroupRoot}/${id}`;
    return asked.startsWith('/') ? asked : `${this.#cgroupRoot}/${asked}`;
  }

  async create(id: string, options: CreateOptions): Promise<Container> {
    const { signal } = options;
    signal?.throwIfAborted();
    checkId(id);
    const bundle = options.bundle === undefined ? undefined : resolve(options.bundle);
    const spec = inBundle(parseSpec(options.spec), bundle);
    const path = this.#cgroupPath(id, spec);
    const cwd = process.cwd();
    const subject = { id, bundle: bundle ?? cwd };
    // refuses what it must before anything is made
    const bytes = encodePlan(compile(spec, options, subject, this.#state.directory(id), openCgroup(path)));

    const record: ContainerRecord = {
      version: 1,
      cwd,
      createdAt: new Date().toISOString(),
      spec,
      cgroup: path,
      bundle,
      terminal: isTerminal(processOf(spec), options.stdio ?? {}),
      maker: ownProcess(),
    };
    await using undo = new AsyncDisposableStack();
    this.#state.create(id, record);
    undo.defer(() => this.#state.remove(id));
    const cgroup = createCgroup(path);
    undo.defer(() => cgroup.remove());
    if (spec.linux?.resources) cgroup.apply(spec.linux.resources);
    const container = new NativeContainer(id, this.#state, record, this.#warn, cgroup);
    const hooks = new CreateHooks(spec, subject, signal);
    try {
      await container.launch(bytes, { ...options, onHooks: (pid) => hooks.run(pid) });
    } catch (error) {
      await undo.disposeAsync();
      // the runtime spec: once hooks have run, those of the end run too, whatever else went wrong
      if (hooks.begun || hookOfContainer(error)) await runPoststop({ spec, subject }, this.#warn);
      throw error;
    }
    undo.move();
    return container;
  }

  async run(id: string, options: CreateOptions): Promise<Container> {
    const container = await this.create(id, options);
    try {
      await container.start(options.signal ? { signal: options.signal } : {});
      return container;
    } catch (error) {
      // whatever it was: nobody has a handle to clean up with
      await container.delete({ force: true });
      throw error;
    }
  }

  async load(id: string, options: CallOptions = {}): Promise<Container> {
    options.signal?.throwIfAborted();
    checkId(id);
    const container = await this.#find(id);
    if (!container)
      throw new RuntimeError('NOT_FOUND', `no container with the id ${id} in ${this.#state.path}`);
    return container;
  }

  /** The container, unless there is none or it is only half made. What a dead maker left half made is removed. */
  async #find(id: string): Promise<NativeContainer | undefined> {
    const record = this.#state.record(id);
    if (!record) return undefined;
    if (!this.#state.pid(id)) {
      if (!isAlive(record.maker)) await this.#sweep(id, record);
      return undefined;
    }
    const container = new NativeContainer(id, this.#state, record, this.#warn);
    await container.reconnect();
    return container;
  }

  async #sweep(id: string, record: ContainerRecord): Promise<void> {
    const cgroup = openCgroup(record.cgroup);
    // its monitor kills it as soon as the maker is gone, so this finds somebody only by chance
    await cgroup.kill();
    await cgroup.remove();
    this.#state.remove(id);
  }

  async list(options: CallOptions = {}): Promise<ContainerState[]> {
    options.signal?.throwIfAborted();
    this.#state.sweep();
    const states: ContainerState[] = [];
    for (const id of this.#state.ids()) {
      options.signal?.throwIfAborted();
      const container = await this.#find(id);
      if (!container) {
        const record = this.#state.record(id);
        if (!record) continue;
        states.push({
          id,
          status: 'creating',
          pid: 0,
          createdAt: new Date(record.createdAt),
          exit: undefined,
          bundle: record.bundle,
          annotations: record.spec.annotations ?? {},
        });
        continue;
      }
      await using found = container;
      states.push(await found.state());
    }
    return states;
  }
}

/** The runtime of this package: containers made by the static helper, found again through their state directory. */
import { resolve } from 'node:path';

import { caller, defaultStateDirectory } from './caller.ts';
import { CgroupRoot } from './cgroups/root.ts';
import { CreateHooks } from './create-hooks.ts';
import { effectiveSpec } from './effective-spec.ts';
import { RuntimeError } from './errors.ts';
import { runPoststop } from './hooks.ts';
import { makeRdtGroups, planRdtGroups, removeRdtGroups, resctrlRoot } from './intel-rdt.ts';
import type { RdtGroups } from './intel-rdt.ts';
import { compile } from './launch-plan.ts';
import { NativeContainer } from './native-container.ts';
import { processOf } from './plan/compile.ts';
import { hostId } from './plan/namespaces.ts';
import { encodePlan } from './plan/operations.ts';
import { isTerminal } from './plan/process.ts';
import { cannot, checkId, missing, parseSpec } from './plan/validate.ts';
import type { CallOptions, Container, ContainerState, CreateOptions, Runtime } from './runtime.ts';
import type { Spec } from './spec/config.ts';
import { withDefaultDevices } from './spec/defaults.ts';
import type { LinuxResources } from './spec/linux.ts';
import { StateDirectory, isAlive, ownProcess } from './state.ts';
import type { ContainerRecord } from './state.ts';

/** Where a runtime keeps things. */
export interface NativeRuntimeOptions {
  /**
   * Absolute or relative to the working directory; made with mode 0700. Best on a tmpfs such as /run. Default:
   * `/run/tare/runtime`, and for others than root `$XDG_RUNTIME_DIR/tare/runtime`.
   */
  stateDirectory?: string;
  /**
   * Cgroup below which containers get theirs, in every hierarchy. Default: `/tare`, and for others than root below the
   * cgroup that is delegated to the user; without one, containers have no cgroup.
   */
  cgroupRoot?: string;
  /**
   * Told of what a container does without (its `field` says what of the spec it is), which others than root meet, and of
   * what went wrong where nothing can fail any more: a poststop hook. Default: `process.emitWarning`.
   */
  onWarning?: (warning: RuntimeError) => void;
}

/**
 * A runtime on this machine's kernel. Makes nothing and starts nothing until `create`.
 *
 * Several runtimes, in several processes, may share a state directory.
 */
export function createNativeRuntime(options: NativeRuntimeOptions = {}): Runtime {
  const {
    stateDirectory = defaultStateDirectory(),
    cgroupRoot,
    onWarning = (warning) => process.emitWarning(warning),
  } = options;
  return new NativeRuntime(resolve(stateDirectory), new CgroupRoot(cgroupRoot), onWarning);
}

/** The spec with a root that can be found from anywhere. */
function inBundle(spec: Spec, bundle: string | undefined): Spec {
  if (bundle === undefined || !spec.root) return spec;
  return { ...spec, root: { ...spec.root, path: resolve(bundle, spec.root.path) } };
}

/** The groups of `linux.intelRdt`, and where they are. @throws {RuntimeError} `UNSUPPORTED` on another machine */
function rdtOf(id: string, spec: Spec): { root: string; groups: RdtGroups } | undefined {
  const { intelRdt } = spec.linux ?? {};
  if (!intelRdt) return undefined;
  const root = resctrlRoot();
  if (root === undefined) throw missing('linux.intelRdt', 'resctrl');
  return { root, groups: planRdtGroups(root, id, intelRdt) };
}

/** The limits that this process may set; devices are ruled by a program, which only root may load. */
function enforceable(spec: Spec, warn: (warning: RuntimeError) => void): LinuxResources | undefined {
  const { resources } = spec.linux ?? {};
  if (caller().privileged || !resources?.devices?.length) return resources;
  const { devices: _, ...rest } = resources;
  const message = 'only root can rule devices: the container has those that its user may use';
  warn(cannot('linux.resources.devices', message));
  return rest;
}

/**
 * The user who gets the container's cgroup, by the runtime spec ("Cgroup ownership"): who runs in it, when it sees
 * nothing else and may write there.
 */
function delegate(spec: Spec): number | undefined {
  const { linux = {}, process, mounts = [] } = spec;
  const own = linux.namespaces?.some(({ type, path }) => type === 'cgroup' && path === undefined);
  const mounted = mounts.some(
    ({ type, destination, options }) =>
      (type === 'cgroup' || type === 'cgroup2') &&
      destination === '/sys/fs/cgroup' &&
      !options?.includes('ro'),
  );
  if (!own || !mounted || !process || !caller().privileged) return undefined;
  return linux.uidMappings ? hostId(linux.uidMappings, process.user.uid) : process.user.uid;
}

function hookOfContainer(error: unknown): boolean {
  return RuntimeError.is(error) && error.code === 'HOOK_FAILED';
}

class NativeRuntime implements Runtime {
  readonly #state: StateDirectory;
  readonly #cgroups: CgroupRoot;
  readonly #warn: (warning: RuntimeError) => void;

  constructor(stateDirectory: string, cgroups: CgroupRoot, warn: (warning: RuntimeError) => void) {
    this.#state = new StateDirectory(stateDirectory);
    this.#cgroups = cgroups;
    this.#warn = warn;
  }

  async create(id: string, options: CreateOptions): Promise<Container> {
    const { signal } = options;
    signal?.throwIfAborted();
    checkId(id);
    const bundle = options.bundle === undefined ? undefined : resolve(options.bundle);
    const spec = effectiveSpec(inBundle(parseSpec(options.spec), bundle), caller());
    const path = this.#cgroups.path(id, spec.linux?.cgroupsPath);
    const cwd = process.cwd();
    const subject = { id, bundle: bundle ?? cwd };
    // refuses what it must before anything is made
    let container: NativeContainer | undefined;
    const cgroup = this.#cgroups.open(path, () => container?.pid ?? 0);
    const directory = this.#state.directory(id);
    const bytes = encodePlan(compile(spec, options, subject, directory, cgroup, this.#warn));
    const resources = enforceable(spec, this.#warn);
    const rdt = rdtOf(id, spec);

    const record: ContainerRecord = {
      version: 1,
      cwd,
      createdAt: new Date().toISOString(),
      spec,
      cgroup: path,
      bundle,
      terminal: isTerminal(processOf(spec), options.stdio ?? {}),
      rdt: rdt?.groups,
      maker: ownProcess(),
    };
    await using undo = new AsyncDisposableStack();
    this.#state.create(id, record);
    undo.defer(() => this.#state.remove(id));
    if (rdt) undo.defer(() => removeRdtGroups(rdt.groups));
    cgroup.create();
    undo.defer(() => cgroup.remove());
    if (resources) {
      const { devices } = resources;
      cgroup.apply(devices?.length ? { ...resources, devices: withDefaultDevices(devices) } : resources);
    }
    const owner = delegate(spec);
    if (owner !== undefined) cgroup.delegate(owner);
    container = new NativeContainer(id, this.#state, record, this.#warn, cgroup);
    await using hooks = new CreateHooks(spec, subject, record.rdt, signal);
    try {
      if (rdt) makeRdtGroups(rdt.root, rdt.groups, spec.linux!.intelRdt!);
      await container.launch(bytes, { ...options, onHooks: (pid) => hooks.run(pid) });
    } catch (error) {
      await hooks[Symbol.asyncDispose]();
      await undo.disposeAsync();
      // the runtime spec: once hooks have run, those of the end run too, whatever else went wrong
      if (hooks.begun || hookOfContainer(error)) await runPoststop({ spec, subject }, this.#warn);
      throw error;
    }
    hooks.keep();
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
    let container: NativeContainer | undefined;
    const cgroup = this.#cgroups.open(record.cgroup, () => container?.pid ?? 0);
    container = new NativeContainer(id, this.#state, record, this.#warn, cgroup);
    await container.reconnect();
    return container;
  }

  async #sweep(id: string, record: ContainerRecord): Promise<void> {
    const cgroup = this.#cgroups.open(record.cgroup, () => 0);
    // its monitor kills it as soon as the maker is gone, so this finds somebody only by chance
    await cgroup.kill();
    await cgroup.remove();
    if (record.rdt) removeRdtGroups(record.rdt);
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

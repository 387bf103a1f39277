/** Seams in memory: an engine's containers without a kernel, for tests of what the engine decides by itself. */
import { Readable } from 'node:stream';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Snapshotter } from '@tare/layer-store/snapshot';
import type { BridgeNetworkConfig, Endpoint, NetworkDriver } from '@tare/netdriver';
import type {
  Attachment,
  Container,
  ContainerEvent,
  ContainerState,
  CreateOptions,
  ExecOptions,
  ExecProcess,
  ExitStatus,
  Runtime,
} from '@tare/runtime-native';
import { defaultSpec } from '@tare/runtime-native/spec';
import { pino } from 'pino';

import { containerServices, type ContainerServices } from '../../src/container-services.ts';
import { EventBus } from '../../src/events/event-bus.ts';
import { notFound } from '../../src/errors.ts';
import type { Image } from '../../src/images/image.ts';
import { JobQueue } from '../../src/jobs/job-queue.ts';
import { containersMigrations } from '../../src/state/containers-table.ts';
import { DEFAULTS } from '../../src/config-keys.ts';
import { StateDb } from '../../src/state/db.ts';
import { networksMigrations } from '../../src/state/networks-table.ts';
import { volumesMigrations } from '../../src/state/volumes-table.ts';
import type { HostMounts } from '../../src/volumes/volumes.ts';

/** A process that runs until the test, or a signal it dies of, ends it. */
export class FakeProcess implements ExecProcess, Container {
  readonly id: string;
  pid: number;
  readonly spec = defaultSpec(['true']);
  readonly annotations = {};
  readonly signals: number[] = [];
  /** Signals that it ignores. */
  ignored = new Set<number>();
  /** Makes `start` fail. */
  startError: unknown;
  /** What it says when it starts. */
  greeting = '';
  started = false;
  status: ContainerState['status'] = 'created';
  size: { columns: number; rows: number } | undefined;
  readonly stdin: string[] = [];
  readonly #exit = Promise.withResolvers<ExitStatus>();
  readonly #outputs = new Set<{ push(chunk: Chunk | undefined): void }>();
  onDelete = (): void => {};
  onEndOfInput = (): void => {};
  onExec: (options: ExecOptions) => FakeProcess = () => new FakeProcess('exec', 100);

  constructor(id: string, pid: number) {
    this.id = id;
    this.pid = pid;
  }

  say(text: string, stream: 'stdout' | 'stderr' = 'stdout'): void {
    for (const output of this.#outputs) output.push({ stream, data: Buffer.from(text) });
  }

  /** Ends the process. */
  end(exitCode: number, changes: Partial<ExitStatus> = {}): void {
    this.status = 'stopped';
    for (const output of this.#outputs) output.push(undefined);
    this.#exit.resolve({ exitCode, signal: undefined, oomKilled: false, exitedAt: new Date(), ...changes });
  }

  wait(options: { signal?: AbortSignal } = {}): Promise<ExitStatus> {
    const { promise, reject } = Promise.withResolvers<never>();
    options.signal?.addEventListener('abort', () => reject(options.signal!.reason as Error));
    return Promise.race([this.#exit.promise, promise]);
  }

  kill(signal: number): Promise<void> {
    this.signals.push(signal);
    if (this.status === 'stopped') return Promise.reject(coded('NOT_RUNNING'));
    if (signal === 9 || !this.ignored.has(signal)) this.end(128 + signal, { signal });
    return Promise.resolve();
  }

  resize(size: { columns: number; rows: number }): Promise<void> {
    this.size = size;
    return Promise.resolve();
  }

  attach(): Promise<Attachment> {
    const queue: (Chunk | undefined)[] = [];
    let wake = (): void => {};
    const output = {
      push: (chunk: Chunk | undefined) => {
        queue.push(chunk);
        wake();
      },
    };
    this.#outputs.add(output);
    const close = (): Promise<void> => {
      output.push(undefined);
      this.#outputs.delete(output);
      return Promise.resolve();
    };
    const chunks = async function* (): AsyncGenerator<Chunk> {
      for (;;) {
        while (queue.length === 0) await new Promise<void>((resolve) => (wake = resolve));
        const chunk = queue.shift();
        if (!chunk) return;
        yield chunk;
      }
    };
    return Promise.resolve({
      output: chunks(),
      write: (data) => {
        this.stdin.push(Buffer.from(data).toString());
        return Promise.resolve();
      },
      closeStdin: () => {
        this.stdin.push('EOF');
        this.onEndOfInput();
        return Promise.resolve();
      },
      close,
      [Symbol.asyncDispose]: close,
    });
  }

  state(): Promise<ContainerState> {
    return Promise.resolve({
      id: this.id,
      status: this.status,
      pid: this.pid,
      createdAt: new Date(),
      exit: undefined,
      bundle: undefined,
      annotations: {},
    });
  }

  start(): Promise<void> {
    if (this.startError !== undefined) return Promise.reject(this.startError as Error);
    this.started = true;
    this.status = 'running';
    if (this.greeting !== '') this.say(this.greeting);
    return Promise.resolve();
  }

  killAll(signal: number): Promise<void> {
    return this.kill(signal);
  }

  pause(): Promise<void> {
    this.status = 'paused';
    return Promise.resolve();
  }

  resume(): Promise<void> {
    if (this.status === 'stopped') {
      const message = `cannot resume container ${this.id}: it is stopped`;
      return Promise.reject(Object.assign(new Error(message), { code: 'NOT_RUNNING' }));
    }
    if (this.status === 'paused') this.status = 'running';
    return Promise.resolve();
  }

  update(): Promise<void> {
    return Promise.resolve();
  }

  stats(): ReturnType<Container['stats']> {
    return Promise.resolve({ readAt: new Date() });
  }

  pids(): Promise<number[]> {
    return Promise.resolve([this.pid]);
  }

  async *events(): ReturnType<Container['events']> & AsyncGenerator<ContainerEvent> {
    const status = await this.#exit.promise;
    yield { type: 'exit', at: status.exitedAt, status };
  }

  exec(options: ExecOptions): Promise<ExecProcess> {
    try {
      const process = this.onExec(options);
      process.status = 'running';
      return Promise.resolve(process);
    } catch (error) {
      return Promise.reject(error as Error);
    }
  }

  execs(): Promise<ExecProcess[]> {
    return Promise.resolve([]);
  }

  delete(): Promise<void> {
    if (this.status !== 'stopped') this.end(137);
    this.onDelete();
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}

interface Chunk {
  stream: 'stdout' | 'stderr';
  data: Uint8Array;
}

/** An error with a code, as the packages throw them. */
export function coded(code: string, details: object = {}): Error {
  return Object.assign(new Error(code), { code, ...details });
}

/** A machine that outlives the engines on it. */
export class FakeHost implements Disposable {
  readonly directory = mkdtempSync(join(tmpdir(), 'tare-engine-'));
  readonly processes = new Map<string, FakeProcess>();
  readonly snapshots = new Map<string, string | undefined>();
  readonly endpoints = new Map<string, Endpoint>();
  readonly sandboxes = new Set<string>();
  readonly created: CreateOptions[] = [];
  /** Host ports in use. */
  readonly ports = new Set<number>();
  /** Called for each container that is made. */
  onCreate: (process: FakeProcess) => void = () => {};
  /** Makes the next steps fail. */
  failing = new Set<'prepare' | 'create' | 'attach'>();
  reconciled: Parameters<NetworkDriver['reconcile']>[0][] = [];
  #pid = 1000;

  readonly runtime: Runtime = {
    create: (id, options) => {
      if (this.failing.has('create')) return Promise.reject(coded('SETUP_FAILED'));
      if (this.processes.has(id)) return Promise.reject(coded('ALREADY_EXISTS'));
      this.created.push(options);
      this.#pid += 1;
      const process = new FakeProcess(id, this.#pid);
      process.onDelete = () => this.processes.delete(id);
      this.processes.set(id, process);
      this.onCreate(process);
      return Promise.resolve(process);
    },
    run: async (id, options) => {
      const process = await this.runtime.create(id, options);
      await process.start();
      return process;
    },
    load: (id) => {
      const process = this.processes.get(id);
      return process ? Promise.resolve(process) : Promise.reject(coded('NOT_FOUND'));
    },
    list: () => Promise.all([...this.processes.values()].map((process) => process.state())),
  };

  readonly snapshotter: Snapshotter = {
    prepare: (key, parent) => {
      if (this.failing.has('prepare')) return Promise.reject(new Error('disk full'));
      this.snapshots.set(key, parent);
      return Promise.resolve([]);
    },
    view: () => Promise.resolve([]),
    mounts: () => Promise.resolve([]),
    commit: () => Promise.resolve(),
    remove: (name) => {
      this.snapshots.delete(name);
      return Promise.resolve();
    },
    stat: () => Promise.resolve(undefined),
    list: () => {
      const all = [...this.snapshots].map(([name, parent]) => ({
        name,
        kind: 'active' as const,
        parent,
        createdAt: new Date(),
      }));
      return (async function* () {
        yield* all;
      })();
    },
    usage: () => Promise.resolve({ sizeBytes: 10, inodes: 1 }),
    changes: () => Readable.from([]),
    diff: () => Readable.from([]),
    flatten: () => Readable.from([]),
  };

  readonly networkDriver: NetworkDriver<BridgeNetworkConfig> = {
    createNetwork: ({ id, bridgeName: linkName, subnets, mtu = 1500, internal = false }) => {
      const chosen = subnets?.length ? [...subnets] : [{ subnet: '172.17.0.0/16', gateway: '172.17.0.1' }];
      return Promise.resolve({ id, linkName, subnets: chosen, mtu, internal });
    },
    removeNetwork: () => Promise.resolve(),
    attach: (networkId, { id, ports = [], interfaceName = 'eth0', defaultRoute = true }) => {
      if (this.failing.has('attach')) return Promise.reject(coded('NO_FREE_ADDRESS'));
      const published = ports.map(({ protocol, containerPort, hostIp = '0.0.0.0', hostPort }) => {
        const port = typeof hostPort === 'number' ? hostPort : 32_768;
        return { protocol, containerPort, hostIp, hostPort: port };
      });
      const taken = published.find(({ hostPort }) => this.ports.has(hostPort));
      if (taken) return Promise.reject(coded('PORT_IN_USE', { ip: taken.hostIp, port: taken.hostPort }));
      for (const { hostPort } of published) this.ports.add(hostPort);
      const endpoint: Endpoint = {
        id,
        networkId,
        interfaceName,
        hostInterfaceName: 'veth0',
        macAddress: '02:00:00:00:00:01',
        ipv4Address: '172.17.0.2/16',
        ...(defaultRoute === true || (defaultRoute && defaultRoute.ipv4) ? { gateway: '172.17.0.1' } : {}),
        ports: published,
      };
      this.endpoints.set(id, endpoint);
      return Promise.resolve(endpoint);
    },
    detach: (_networkId, id) => {
      for (const { hostPort } of this.endpoints.get(id)?.ports ?? []) this.ports.delete(hostPort);
      this.endpoints.delete(id);
      return Promise.resolve();
    },
    setDefaultRoute: (_networkId, id, route) => {
      const { gateway: _, ...endpoint } = this.endpoints.get(id)!;
      const leads = typeof route === 'boolean' ? route : route.ipv4;
      const changed = { ...endpoint, ...(leads ? { gateway: '172.17.0.1' } : {}) };
      this.endpoints.set(id, changed);
      return Promise.resolve(changed);
    },
    publish: (_networkId, id, mappings) => {
      const endpoint = this.endpoints.get(id)!;
      const ports = mappings.map(({ protocol, containerPort, hostIp = '0.0.0.0', hostPort }) => ({
        protocol,
        containerPort,
        hostIp,
        hostPort: typeof hostPort === 'number' ? hostPort : 32_768,
      }));
      for (const { hostPort } of ports) this.ports.add(hostPort);
      this.endpoints.set(id, { ...endpoint, ports: [...endpoint.ports, ...ports] });
      return Promise.resolve(ports);
    },
    unpublish: (_networkId, id, ports) => {
      const endpoint = this.endpoints.get(id)!;
      const gone = new Set(ports.map(({ hostPort }) => hostPort));
      for (const port of gone) this.ports.delete(port);
      this.endpoints.set(id, {
        ...endpoint,
        ports: endpoint.ports.filter(({ hostPort }) => !gone.has(hostPort)),
      });
      return Promise.resolve();
    },
    networks: () => Promise.resolve([]),
    endpoints: () => Promise.resolve([...this.endpoints.values()]),
    reconcile: (intended) => {
      this.reconciled.push(intended);
      return Promise.resolve();
    },
    destroy: () => Promise.resolve(),
  };

  /** Targets of mounts, which nothing is really mounted at. */
  readonly mounted: string[] = [];
  readonly hostMounts: HostMounts = {
    mount: (mounts, target) => {
      if (mounts.some(({ source }) => source === '/missing')) throw coded('ENOENT');
      this.mounted.push(target);
    },
    unmount: (target) => {
      if (this.mounted.includes(target)) this.mounted.splice(this.mounted.indexOf(target), 1);
    },
    table: () => ['/', ...this.mounted].map((target) => ({ target, propagation: [] })),
  };

  /** What the containers of an engine that has none may leave. */
  leftovers(): object {
    return {
      processes: this.processes.size,
      snapshots: this.snapshots.size,
      endpoints: this.endpoints.size,
      sandboxes: this.sandboxes.size,
      mounted: this.mounted.length,
    };
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** An engine's container services on a fake host. Disposing of it is a graceful stop, leaving it is a crash. */
export interface FakeEngine extends ContainerServices, AsyncDisposable {
  events: EventBus;
  jobs: JobQueue;
  db: StateDb;
  /** Creates a container and returns its id. */
  create(request?: object, name?: string): Promise<string>;
}

const image = {
  id: `sha256:${'1'.repeat(64)}`,
  repoTags: ['busybox:latest'],
  repoDigests: [],
  chainId: `sha256:${'2'.repeat(64)}`,
  config: {
    architecture: 'amd64',
    os: 'linux',
    config: { Cmd: ['sh'], Env: ['PATH=/bin'] },
    rootfs: { type: 'layers', diff_ids: [] },
  },
  sizeBytes: 1000,
  taggedAt: undefined,
} as unknown as Image;

/** Starts an engine on `host`, and has it restore what an earlier one left. */
export async function startEngine(host: FakeHost): Promise<FakeEngine> {
  const db = StateDb.open(join(host.directory, 'state.db'), [
    ...containersMigrations,
    ...networksMigrations,
    ...volumesMigrations,
  ]);
  const events = new EventBus();
  const jobs = new JobQueue();
  const services = containerServices({
    db,
    events,
    jobs,
    log: pino({ level: 'silent' }),
    runtime: host.runtime,
    snapshotter: host.snapshotter,
    snapshotterName: 'overlay',
    networkDrivers: { bridge: host.networkDriver },
    images: {
      resolve: (reference) => {
        if (reference === 'busybox' || reference === image.id) return image;
        throw notFound(`No such image: ${reference}:latest`);
      },
    },
    sandboxes: {
      create: (path) => {
        host.sandboxes.add(path);
        return Promise.resolve();
      },
      bringUpLoopback: () => Promise.resolve(),
      remove: (path) => {
        host.sandboxes.delete(path);
        return Promise.resolve();
      },
    },
    seccomp: {
      standard: () => ({ defaultAction: 'SCMP_ACT_ALLOW' }),
      parse: (profile) => JSON.parse(profile) as { defaultAction: 'SCMP_ACT_ALLOW' },
    },
    openDns: () => Promise.resolve({ [Symbol.asyncDispose]: () => Promise.resolve() }),
    // files of containers are tried on real ones
    // here no image has any
    trees: {
      open: () => ({ path: '/nowhere', [Symbol.dispose]: () => {} }),
      stat: () => {
        throw coded('ENOENT');
      },
    } as unknown as Parameters<typeof containerServices>[0]['trees'],
    syscalls: {
      openInRoot: () => {
        throw Object.assign(new Error('ENOENT'), { code: 'ENOENT' });
      },
      isOpaque: () => false,
      tryLock: () => true,
    },
    hostMounts: host.hostMounts,
    userNamespaces: { create: () => Promise.resolve(), remove: () => Promise.resolve() },
    userNamespacePolicy: { remap: undefined },
    defaults: DEFAULTS.containerDefaults,
    openUnixDatagrams: () => {
      throw coded('ENOENT');
    },
    cgroupVersion: 2,
    cgroupParent: '/tare',
    init: { program: () => '/init', always: false },
    dataRoot: join(host.directory, 'data'),
    execRoot: join(host.directory, 'exec'),
  });
  await services.containers.restore();
  return {
    ...services,
    db,
    events,
    jobs,
    async create(request = {}, name = '') {
      const { id } = await jobs.run('container.create', (job) =>
        services.containers.create({
          request: { Image: 'busybox', ...request },
          name,
          platform: '',
          apiVersion: '1.51',
          job,
        }),
      );
      return id;
    },
    async [Symbol.asyncDispose]() {
      await services.containers[Symbol.asyncDispose]();
      await jobs[Symbol.asyncDispose]();
      db[Symbol.dispose]();
    },
  };
}

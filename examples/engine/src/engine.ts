/**
 * The engine: owns everything, starts it in order and ends it in reverse.
 *
 * It knows seams only; which implementation stands behind each is decided in main.ts.
 */
import { statfsSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { join } from 'node:path';
import type { ContentStore } from '@tare/image-spec/content';
import type { FileHasher } from '@tare/layer-store';
import type { Snapshotter } from '@tare/layer-store/snapshot';
import type { Logger } from 'pino';
import type { LayerMaker } from './builder/commit.ts';
import { prepareBuilder } from './builder/prepare.ts';
import type { BuildParts } from './builder/in-engine/parts.ts';
import type { Config } from './config-keys.ts';
import { reloadAttributes, reloadInto } from './reload.ts';
import { containerServices, type ContainerServiceParts } from './container-services.ts';
import { messageOf } from './errors.ts';
import { EventBus, type EngineEvent } from './events/event-bus.ts';
import { listen } from './http/listen.ts';
import { OPEN_TCP, tlsOptions } from './http/tls.ts';
import type { Route } from './http/route.ts';
import { buildRoutes } from './http/routes/build.ts';
import { buildKitRoutes } from './http/routes/buildkit.ts';
import { eventRoutes } from './http/routes/events.ts';
import { importFrom, imageFilesRoutes } from './http/routes/image-files.ts';
import { imageRoutes } from './http/routes/images.ts';
import { jobRoutes } from './http/routes/jobs.ts';
import { listenForMetrics } from './http/metrics-listener.ts';
import { metricsRoutes } from './http/routes/metrics.ts';
import { refusedRoutes } from './http/routes/refused.ts';
import { registryRoutes } from './http/routes/registries.ts';
import { systemRoutes } from './http/routes/system.ts';
import { HttpServer } from './http/server.ts';
import { Images } from './images/images.ts';
import { Indexes } from './images/indexes.ts';
import type { BlobCreator } from './images/load.ts';
import { sweepImages } from './images/prune.ts';
import { Puller, type LayerUnpacker } from './images/pull.ts';
import { Pusher } from './images/push.ts';
import type { OpenRepository, SearchRegistry } from './images/remote.ts';
import { JobQueue, type JobObserver } from './jobs/job-queue.ts';
import { BuildCache } from './builder/cache.ts';
import { CacheMounts } from './builder/cache-mounts.ts';
import { KeptFiles } from './builder/kept-files.ts';
import { BuildCacheTable } from './state/build-cache-table.ts';
import { EventsTable } from './state/events-table.ts';
import { StateDb } from './state/db.ts';
import { ImagesTable } from './state/images-table.ts';
import { migrations } from './state/migrations.ts';
import type { InheritedSocket } from './system/service-manager.ts';
import { SystemInfo, type Login } from './system/system-info.ts';
import { Metrics } from './telemetry/metrics.ts';
import { traced } from './telemetry/traces.ts';
import { ENGINE_VERSION } from './version.ts';

/** The implementations an engine is made of. They stay their maker's to dispose of, after the engine. */
export interface EngineParts {
  log: Logger;
  /** Blobs by digest. */
  content: ContentStore;
  snapshotter: Snapshotter;
  /** Storage driver that clients are told of. */
  snapshotterName: string;
  unpacker: LayerUnpacker;
  layers: LayerMaker;
  /** Hashes files on a thread; without it the engine's own does. */
  hasher: FileHasher | undefined;
  blobs: BlobCreator;
  openRepository: OpenRepository;
  searchRegistry: SearchRegistry;
  login: Login;
  /** What systemd has opened for us; `fd://` means these. */
  inheritedSockets: readonly InheritedSocket[];
  /** What runs and connects containers. */
  containers: Pick<
    ContainerServiceParts,
    | 'runtime'
    | 'networkDrivers'
    | 'openDns'
    | 'sandboxes'
    | 'seccomp'
    | 'syscalls'
    | 'trees'
    | 'hostMounts'
    | 'cgroupVersion'
    | 'cgroupParent'
    | 'init'
    | 'openUnixDatagrams'
    | 'userNamespaces'
  >;
  /** Called for every request. */
  onRequest?: () => void;
  /** Told when configuration in force has changed, for what the maker of the parts has made of it. */
  reconfigured(config: Config): void;
}

/** A running engine. Disposing of it is the graceful shutdown; containers go on. */
export class Engine implements AsyncDisposable {
  /** Addresses it listens on. */
  readonly addresses: readonly string[];
  readonly #resources: AsyncDisposableStack;
  readonly #reload: (config: Config) => void;

  private constructor(
    addresses: readonly string[],
    resources: AsyncDisposableStack,
    reload: (config: Config) => void,
  ) {
    this.addresses = addresses;
    this.#reload = reload;
    this.#resources = resources;
  }

  /**
   * Starts an engine: state, services, recovery of what an earlier one left, and then the sockets.
   *
   * A start that fails undoes what it did.
   *
   * @throws {EngineError} when the state cannot be opened or an address cannot be listened on
   */
  static async start(config: Config, parts: EngineParts): Promise<Engine> {
    await using resources = new AsyncDisposableStack();
    const {
      log,
      content,
      snapshotter,
      snapshotterName,
      unpacker,
      layers,
      blobs,
      openRepository,
      searchRegistry,
      login,
    } = parts;

    const db = resources.use(StateDb.open(join(config.dataRoot, 'state.db'), migrations));
    const metrics = new Metrics();
    const events = new EventBus({
      store: resources.use(new EventsTable<EngineEvent>(db)),
      observer: (event) => metrics.event(event),
    });
    const logged: JobObserver = {
      started: (job) => log.debug({ job: job.id, kind: job.kind, subject: job.subject }, 'job started'),
      ended: (job) =>
        log.debug({ job: job.id, kind: job.kind, state: job.state, error: job.error }, 'job ended'),
    };
    const jobs = resources.use(new JobQueue({ observers: [logged, metrics], around: traced }));

    const images = new Images({
      table: new ImagesTable(db),
      content,
      snapshots: snapshotter,
      events,
      // images and containers know each other: the one removes only what the other does not use
      users: { usersOf: (imageId) => containers.usersOf(imageId) },
    });
    const puller = new Puller({
      images,
      openRepository,
      unpacker,
      maxConcurrentDownloads: config.maxConcurrentDownloads,
    });
    const indexes = new Indexes();
    const pusher = new Pusher({
      images,
      compressor: layers,
      indexes,
      openRepository,
      maxConcurrentUploads: config.maxConcurrentUploads,
    });
    const services = containerServices({
      ...parts.containers,
      db,
      snapshotter,
      snapshotterName,
      images,
      events,
      jobs,
      log,
      defaults: config.containerDefaults,
      userNamespacePolicy: { remap: config.usernsRemap },
      dataRoot: config.dataRoot,
      execRoot: config.execRoot,
    });
    const { containers, volumes } = services;
    resources.use(containers);
    await containers.restore();

    const builderDirectory = join(config.dataRoot, 'builder');
    const buildCache = new BuildCache({
      table: new BuildCacheTable(db),
      images,
      mounts: new CacheMounts(join(builderDirectory, 'cache')),
      indexes,
      files: new KeptFiles(() => {
        const { bavail, bsize } = statfsSync(config.dataRoot);
        return bavail * bsize;
      }),
      limitBytes: config.buildCacheBytes ?? (await tenthOf(config.dataRoot)),
    });
    const system = new SystemInfo({
      config,
      events,
      images,
      login,
      storageDriver: snapshotterName,
      containers,
      volumes,
      buildCache,
    });
    const imageFiles = { images, unpacker, layers, blobs, containers };
    const builder: BuildParts = {
      ...imageFiles,
      puller,
      openRepository,
      trees: parts.containers.trees,
      syscalls: parts.containers.syscalls,
      hasher: parts.hasher,
      cache: buildCache,
      indexes,
      jobs,
      directory: builderDirectory,
    };
    await prepareBuilder(builder);
    const routes: Route[] = [
      ...systemRoutes(system),
      ...eventRoutes(events),
      ...jobRoutes(jobs),
      ...metricsRoutes(metrics),
      ...imageRoutes({ images, storageDriver: snapshotterName }),
      ...imageFilesRoutes(imageFiles),
      ...buildRoutes(builder),
      ...buildKitRoutes(builder),
      ...registryRoutes({
        puller,
        pusher,
        openRepository,
        search: searchRegistry,
        importFrom: (context) => importFrom(context, imageFiles),
      }),
      ...services.routes,
      ...refusedRoutes(),
    ];

    metrics.add({
      version: ENGINE_VERSION,
      architecture: system.architecture,
      containers: () => containers.counts(),
    });
    if (config.metricsAddress !== undefined) {
      const listener = resources.use(await listenForMetrics(metrics, config.metricsAddress));
      log.info({ address: listener.address }, 'metrics are served');
    }
    const http = resources.use(
      new HttpServer({ routes, jobs, log, serverVersion: ENGINE_VERSION, onRequest: parts.onRequest }),
    );
    const addresses: string[] = [];
    for (const host of config.hosts) {
      const tcp = host.startsWith('tcp://');
      const server = http.createServer(tcp ? tlsOptions(config.tcp) : undefined);
      const address = await listen(server, host, {
        group: { name: config.group, required: config.groupExplicit },
        plainTcp: config.tcp.kind === 'plain' && config.tcp.insists,
        inherited: parts.inheritedSockets,
      });
      log.info({ address }, 'API listens');
      if (tcp && config.tcp.kind !== 'verified') log.warn({ address }, OPEN_TCP);
      addresses.push(address);
    }
    resources.use(background(log, 'sweeping images', (signal) => sweepImages(images, { signal })));
    const reload = (next: Config): void => {
      const changed = reloadInto(config, next);
      puller.limitDownloads(config.maxConcurrentDownloads);
      pusher.limitUploads(config.maxConcurrentUploads);
      parts.reconfigured(config);
      events.publish({
        type: 'daemon',
        action: 'reload',
        id: system.id,
        attributes: reloadAttributes(config),
      });
      log.info({ changed }, 'configuration reloaded');
    };
    return new Engine(addresses, resources.move(), reload);
  }

  /**
   * Takes up what may change while the engine runs, from a configuration that was read anew; the rest waits for the
   * next start. Tells of it by the event `reload`.
   */
  reload(config: Config): void {
    this.#reload(config);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync();
  }
}

/** A tenth of a file system, in bytes: what the build cache may take. */
async function tenthOf(path: string): Promise<number> {
  const { blocks, bsize } = await statfs(path);
  return Math.floor((blocks * bsize) / 10);
}

/** Work that the start does not wait for. A failure is logged; disposing of it cancels it and waits. */
function background(
  log: Logger,
  what: string,
  work: (signal: AbortSignal) => Promise<void>,
): AsyncDisposable {
  const stop = new AbortController();
  const done = work(stop.signal).catch((error: unknown) => {
    if (!stop.signal.aborted) log.error({ err: error }, `${what} failed: ${messageOf(error)}`);
  });
  return {
    async [Symbol.asyncDispose]() {
      stop.abort(new Error('the engine is shutting down'));
      await done;
    },
  };
}

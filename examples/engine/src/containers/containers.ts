/** The container service: every verb of the API on containers, over the seams of `ContainerWorld`. */

import { EngineError, conflict, invalid, notFound, notImplemented } from '../errors.ts';
import type { Filters } from '../filters.ts';
import type { HijackedStream } from '../http/hijack.ts';
import type { ImageUser } from '../images/image.ts';
import { LogReader, type LogQuery } from '../logs/json-file.ts';
import type { AttachedEndpoint } from '../networks/networks.ts';
import type { NetworkRecord } from '../state/networks-table.ts';
import {
  readArchive,
  statArchive,
  writeArchive,
  type PathStat,
  type WriteArchiveOptions,
} from './archive.ts';
import { attachContainer, type AttachOptions } from './attach.ts';
import { connectNetwork, disconnectNetwork, writeEtcFiles } from './attachments.ts';
import { parseLink } from './links.ts';
import type { EndpointSettings } from './create-request.ts';
import { createContainer, type CreateOptions } from './create.ts';
import { Execs } from './exec.ts';
import { containerChanges, exportContainer, holdStill, type ChangedPath } from './export.ts';
import { HealthMonitor } from './health-monitor.ts';
import type { UpdateRequest } from './host-config.ts';
import { Lifecycle } from './lifecycle.ts';
import { listContainers, type ListQuery } from './list.ts';
import { parseName } from './names.ts';
import { pruneContainers, removalInProgress, removeContainer } from './remove.ts';
import { inspectContainer, listContainer } from './render.ts';
import { restoreContainers } from './restore.ts';
import { sampleStats, type StatsMode } from './sample-stats.ts';
import {
  killContainer,
  pauseContainer,
  restartContainer,
  stopContainer,
  unpauseContainer,
  type StopOptions,
} from './stop.ts';
import type { LiveContainer, WaitCondition, WaitResult } from './store.ts';
import { topTable } from './top.ts';
import { updateContainer } from './update.ts';
import { containerFiles, logAttributesOf, logOf, type ContainerWorld } from './world.ts';

/** The containers of an engine. Disposing of it lets go of them; they run on. */
export class Containers implements AsyncDisposable {
  readonly #world: ContainerWorld;
  readonly #lifecycle: Lifecycle;
  readonly #health: HealthMonitor;
  readonly execs: Execs;

  constructor(world: ContainerWorld) {
    this.#world = world;
    this.execs = new Execs(world);
    this.#health = new HealthMonitor(world, this.execs);
    this.#lifecycle = new Lifecycle(world, this.#health);
  }

  /** Takes up what an earlier engine left. Called once, before the first request. */
  restore(): Promise<void> {
    return restoreContainers(this.#world, this.#lifecycle, this.execs);
  }

  /** Finds a container by what a client typed. @throws {EngineError} `NOT_FOUND`, `INVALID` */
  find(text: string): LiveContainer {
    return this.#world.store.find(text);
  }

  create(options: CreateOptions): Promise<{ id: string; warnings: string[] }> {
    return createContainer(this.#world, options);
  }

  /** @param options.lentEnv - variables of this start alone: they are in no record of the container */
  start(text: string, { lentEnv = [] }: { lentEnv?: readonly string[] } = {}): Promise<void> {
    const container = this.find(text);
    container.lentEnv = lentEnv;
    return this.#lifecycle.start(container);
  }

  stop(text: string, options: StopOptions): Promise<void> {
    return stopContainer(this.#world, this.find(text), options);
  }

  kill(text: string, signal: string | undefined): Promise<void> {
    return killContainer(this.#world, this.find(text), { signal, text });
  }

  restart(text: string, options: StopOptions): Promise<void> {
    return restartContainer(this.#world, this.#lifecycle, this.find(text), options);
  }

  pause(text: string): Promise<void> {
    return pauseContainer(this.#world, this.find(text));
  }

  unpause(text: string): Promise<void> {
    return unpauseContainer(this.#world, this.find(text));
  }

  update(text: string, request: UpdateRequest): Promise<void> {
    return updateContainer(this.#world, this.find(text), request);
  }

  wait(text: string, condition: WaitCondition, signal: AbortSignal): Promise<WaitResult> {
    return this.find(text).wait(condition, signal);
  }

  attach(
    text: string,
    options: AttachOptions,
    hijack: (multiplexed: boolean) => Promise<HijackedStream>,
  ): Promise<void> {
    return attachContainer(this.#world, this.find(text), options, hijack);
  }

  /** @throws {EngineError} `INVALID` for a name that is none or the same; `CONFLICT` for a taken one */
  async rename(text: string, name: string): Promise<void> {
    const container = this.find(text);
    if (name === '') throw invalid('Neither old nor new names may be empty');
    const next = parseName(name);
    using _lock = await container.lock.acquire();
    if (next === container.name) {
      throw invalid('Renaming a container with the same name as its current name');
    }
    this.#world.store.checkName(next);
    const oldName = `/${container.name}`;
    container.record = { ...container.record, name: next };
    this.#world.store.saveRecord(container);
    this.#world.store.publish(container, 'rename', { oldName });
  }

  /** Resizes the container's terminal. @throws {EngineError} `CONFLICT` when it does not run */
  async resize(text: string, size: { columns: number; rows: number }): Promise<void> {
    const container = this.find(text);
    if (!container.handle) throw conflict(`container ${container.id} is not running`);
    await container.handle.resize(size);
    this.#world.store.publish(container, 'resize', {
      height: String(size.rows),
      width: String(size.columns),
    });
  }

  /**
   * Removes a container.
   *
   * @param options.force - kill it first when it runs
   * @throws {EngineError} `NOT_FOUND`, `CONFLICT`
   */
  async remove(text: string, options: { force: boolean; volumes: boolean }): Promise<void> {
    const container = this.find(text);
    if (container.state.removing) throw removalInProgress(container);
    if (options.force && container.state.running) {
      try {
        await killContainer(this.#world, container, { text });
      } catch (error) {
        // it ended by itself in between
        if (!(error instanceof EngineError && error.code === 'CONFLICT')) throw error;
      }
    }
    using _lock = await container.lock.acquire();
    // `--rm` may have been faster: then there is nothing left to do
    if (this.#world.store.get(container.id) !== container) return;
    await removeContainer(this.#world, container, options);
  }

  /** Takes one link away from a container. @throws {EngineError} `NOT_FOUND` */
  async unlink(text: string, alias: string): Promise<void> {
    const container = this.find(text);
    using _lock = await container.lock.acquire();
    const { record } = container;
    const links = record.hostConfig.Links ?? [];
    const left = links.filter((link) => parseLink(link).alias !== alias);
    if (left.length === links.length) throw notFound(`No such link: /${record.name}/${alias}`);
    container.record = { ...record, hostConfig: { ...record.hostConfig, Links: left } };
    this.#world.store.saveRecord(container);
    if (container.handle) writeEtcFiles(this.#world, container);
  }

  prune(filters: Filters): Promise<{ deleted: string[]; spaceReclaimed: number }> {
    return pruneContainers(this.#world, filters);
  }

  /** `GET /containers/json`. */
  async list(query: ListQuery & { size: boolean }, apiVersion: string): Promise<unknown[]> {
    const { images, store } = this.#world;
    const imageIds = (reference: string): string[] => {
      try {
        return [images.resolve(reference).id];
      } catch {
        // an image that is not here has no containers
        return [];
      }
    };
    const selected = listContainers(store, query, imageIds);
    return Promise.all(
      selected.map(async (container) =>
        listContainer(container.record, container.state, {
          apiVersion,
          imageName: this.#imageName(container),
          size: query.size ? await this.#sizes(container) : undefined,
        }),
      ),
    );
  }

  /** The name the container was made with, while it still means the same image; else the image's id. */
  #imageName({ record }: LiveContainer): string {
    const reference = record.config.Image ?? '';
    try {
      return this.#world.images.resolve(reference).id === record.imageId ? reference : record.imageId;
    } catch {
      // the name is gone; the id says what it was
      return record.imageId;
    }
  }

  async #sizes({ record }: LiveContainer): Promise<{ rw: number; root: number }> {
    const { sizeBytes: rw } = await this.#world.snapshotter.usage(record.id);
    let imageBytes = 0;
    try {
      imageBytes = this.#world.images.resolve(record.imageId).sizeBytes;
    } catch {
      // removed by force under a stopped container
    }
    return { rw, root: rw + imageBytes };
  }

  /** `GET /containers/{id}/json`. */
  async inspect(text: string, options: { size: boolean; apiVersion: string }): Promise<unknown> {
    const container = this.find(text);
    const { record, state } = container;
    const files = containerFiles(this.#world.paths, record.id);
    const sandboxed = state.running && record.hostConfig.NetworkMode !== 'host';
    return inspectContainer(record, state, {
      apiVersion: options.apiVersion,
      files,
      // clients read the file of this driver, and only this
      logPath:
        record.hostConfig.LogConfig?.Type === 'json-file' ? (logOf(this.#world, record)?.path ?? '') : '',
      execIds: this.execs.running(record.id),
      sandboxKey: sandboxed ? files.sandbox : '',
      sandboxId: sandboxed ? record.id : '',
      driver: this.#world.snapshotterName,
      size: options.size ? await this.#sizes(container) : undefined,
    });
  }

  /** `docker top`. @throws {EngineError} `CONFLICT` when it does not run */
  async top(text: string, psArgs: string): Promise<unknown> {
    const container = this.find(text);
    const { handle, id, state } = container;
    if (!handle || !state.running) throw conflict(`container ${id} is not running`);
    if (state.restarting)
      throw conflict(`container ${id} is restarting, wait until the container is running`);
    return topTable(await handle.pids(), psArgs);
  }

  /**
   * Opens the container's log.
   *
   * @param query.follow - go on until the container ends
   * @throws {EngineError} `NOT_IMPLEMENTED` for a container whose log driver cannot be read
   */
  logs(text: string, query: Omit<LogQuery, 'followUntil'> & { follow: boolean }): Promise<LogReader> {
    const container = this.find(text);
    const log = logOf(this.#world, container.record);
    if (!log) throw notImplemented('configured logging driver does not support reading');
    const { follow, ...rest } = query;
    const waits = follow && (container.state.running || container.state.startedAt === undefined);
    return LogReader.open(log.path, {
      ...rest,
      ...(waits ? { followUntil: container.wait('next-exit') } : {}),
    });
  }

  /** What each entry of the container's log is marked with. */
  logAttributes(text: string): Record<string, string> {
    return logAttributesOf(this.find(text).record);
  }

  /** What is at a path of the container. @throws {EngineError} `NOT_FOUND` */
  async statArchive(text: string, path: string): Promise<PathStat> {
    return statArchive(this.#world, this.find(text), path);
  }

  /** `docker cp` out of the container; see {@link readArchive}. */
  async readArchive(
    text: string,
    path: string,
    signal: AbortSignal,
    send: (stat: PathStat, archive: AsyncIterable<Uint8Array>) => Promise<void>,
  ): Promise<void> {
    await readArchive(this.#world, this.find(text), path, signal, send);
  }

  /** `docker cp` into the container; see {@link writeArchive}. */
  async writeArchive(
    text: string,
    path: string,
    archive: AsyncIterable<Uint8Array>,
    options: WriteArchiveOptions,
  ): Promise<void> {
    await writeArchive(this.#world, this.find(text), path, archive, options);
  }

  /** `docker diff`. */
  async changes(text: string): Promise<ChangedPath[]> {
    return containerChanges(this.#world, this.find(text));
  }

  /** The container's file system as an archive; see {@link exportContainer}. */
  export(text: string, signal: AbortSignal): AsyncIterable<Uint8Array> {
    return exportContainer(this.#world, this.find(text), signal);
  }

  /** Runs `work` on what the container wrote; see {@link holdStill}. */
  holdStill<T>(
    container: LiveContainer,
    options: { pause: boolean; mountPoints?: readonly string[] },
    work: (snapshot: { key: string; without: ReadonlySet<string> }) => Promise<T>,
  ): Promise<T> {
    return holdStill(this.#world, container, options, work);
  }

  /** Tells the world that something was done with a container. */
  publish(container: LiveContainer, action: string, attributes: Record<string, string>): void {
    this.#world.store.publish(container, action, attributes);
  }

  /** Samples of the container's use of resources; see {@link sampleStats}. */
  stats(text: string, mode: StatsMode, signal: AbortSignal): AsyncIterable<unknown> {
    return sampleStats(this.#world, this.find(text), mode, signal);
  }

  /** Endpoints of the containers that run, for the networks. */
  attachedEndpoints(): AttachedEndpoint[] {
    return this.#world.store.all().flatMap(({ record, state }) =>
      Object.values(state.networks).flatMap(({ networkId, endpoint }) =>
        endpoint && state.running
          ? [
              {
                containerId: record.id,
                containerName: record.name,
                networkId,
                endpoint,
                sandbox: containerFiles(this.#world.paths, record.id).sandbox,
              },
            ]
          : [],
      ),
    );
  }

  /** The containers that were made from an image. */
  usersOf(imageId: string): ImageUser[] {
    return this.#world.store
      .allClaimed()
      .filter(
        ({ record }) =>
          record.imageId === imageId || record.mounts.some((mount) => mount.imageId === imageId),
      )
      .map(({ id, state }) => ({ containerId: id, running: state.running }));
  }

  /** Ids of the containers that have a volume, those that are going away excepted. */
  usersOfVolume(name: string): string[] {
    return this.#world.store
      .allClaimed()
      .filter(({ record, state }) => !state.removing && record.mounts.some((mount) => mount.name === name))
      .map(({ id }) => id);
  }

  /** Names and ids of the networks that containers are on, running or not. */
  networksInUse(): Set<string> {
    return new Set(
      this.#world.store
        .all()
        .flatMap(({ state }) =>
          Object.entries(state.networks).flatMap(([name, { networkId }]) => [name, networkId]),
        ),
    );
  }

  /** How many containers are in which state, for `info`. */
  counts(): { running: number; paused: number; stopped: number } {
    const counts = { running: 0, paused: 0, stopped: 0 };
    for (const { state } of this.#world.store.all()) {
      if (!state.running) counts.stopped += 1;
      else if (state.paused) counts.paused += 1;
      else counts.running += 1;
    }
    return counts;
  }

  connectNetwork(text: string, network: NetworkRecord, settings: EndpointSettings): Promise<void> {
    return connectNetwork(this.#world, this.find(text), network, settings);
  }

  disconnectNetwork(text: string, network: NetworkRecord): Promise<void> {
    return disconnectNetwork(this.#world, this.find(text), network);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#health[Symbol.asyncDispose]();
    await this.execs[Symbol.asyncDispose]();
    await this.#lifecycle[Symbol.asyncDispose]();
    await this.#world.logForwarders[Symbol.asyncDispose]();
    await this.#world.logCompressor[Symbol.asyncDispose]();
    for (const { handle } of this.#world.store.all()) await handle?.[Symbol.asyncDispose]();
    await this.#world.nameServers[Symbol.asyncDispose]();
    await this.#world.networks[Symbol.asyncDispose]();
  }
}

/** Starting a container: sandbox, networks, runtime, attached clients, and then the gate. */
import type { Container, LogFile } from '@tare/runtime-native';

import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { conflict, messageOf, notModified } from '../errors.ts';
import { step } from '../jobs/current.ts';
import type { ContainerLog } from '../logs/drivers.ts';
import { allSettled } from '../settle.ts';
import { formatTime, nowNs } from '../time.ts';
import { attachNetworks, detachNetworks, writeEtcFiles } from './attachments.ts';
import { initialHealth } from './health.ts';
import { openMountSources } from './mount-sources.ts';
import { containerStartFailure } from './runtime-errors.ts';
import { closeSharedMemory, openSharedMemory } from './shared-memory.ts';
import { consoleSizeOf, runtimeSpec } from './runtime-spec.ts';
import { networkOwner, specInputs } from './spec-inputs.ts';
import type { LiveContainer } from './store.ts';
import { idMapsOf } from './user-namespaces.ts';
import { containerFiles, logOf, openLogSink, type ContainerWorld } from './world.ts';

/** Called for every container that began to run; it waits for the exit. */
export type OnStarted = (container: LiveContainer, handle: Container) => void;

/**
 * Starts a container. The caller holds its lock.
 *
 * A start that fails leaves nothing of it behind but the error and exit code in the container's state.
 *
 * @throws {EngineError} `NOT_MODIFIED` when it runs, `CONFLICT`, or why it failed, in Docker's words
 */
export async function startContainer(
  world: ContainerWorld,
  container: LiveContainer,
  onStarted: OnStarted,
): Promise<void> {
  const { state } = container;
  if (state.paused) throw conflict('cannot start a paused container, try unpause instead');
  if (state.running && !state.restarting) throw notModified('container is already running');
  if (state.removing || state.dead) {
    throw conflict('container is marked for removal and cannot be started');
  }
  container.cancelRestart = undefined;
  container.restartCancelled = false;
  try {
    const handle = await bringUp(world, container);
    container.handle = handle;
    Object.assign(state, {
      running: true,
      paused: false,
      restarting: false,
      manuallyStopped: false,
      oomKilled: false,
      pid: handle.pid,
      exitCode: 0,
      error: '',
      startedAt: formatTime(nowNs()),
      health: initialHealth(container.record.config),
    });
    world.store.saveState(container);
    world.store.publish(container, 'start');
    // it may have another address now
    for (const other of world.store.all()) {
      if (other.handle && other.record.hostConfig.Links?.length) writeEtcFiles(world, other);
    }
    onStarted(container, handle);
  } catch (error) {
    const failure = containerStartFailure(error, container.record.path);
    // a port that is taken leaves a container that was only created, as if it had never been started
    Object.assign(state, {
      running: false,
      restarting: false,
      pid: 0,
      exitCode: failure.exitCode,
      error: failure.error.message,
    });
    world.store.saveState(container);
    for (const client of container.clients) client.end();
    container.notifyExit();
    throw failure.error;
  }
}

async function bringUp(world: ContainerWorld, container: LiveContainer): Promise<Container> {
  const { record } = container;
  const { config, hostConfig: host } = record;
  const files = containerFiles(world.paths, record.id);
  const ownSandbox = host.NetworkMode !== 'host' && !networkOwner(world, host);
  await using undo = new AsyncDisposableStack();

  const ids = idMapsOf(record, world.userNamespacePolicy);
  const makeSandbox = async (): Promise<void> => {
    // whatever else fails meanwhile: one that is not there is fine to remove
    undo.defer(() => world.userNamespaces.remove(files.userNamespace));
    if (ids) await world.userNamespaces.create(files.userNamespace, ids);
    if (!ownSandbox) return;
    undo.defer(() => world.sandboxes.remove(files.sandbox));
    await world.sandboxes.create(files.sandbox, ids && files.userNamespace);
  };
  const [layers] = await allSettled([world.snapshotter.mounts(record.id), step('sandbox', makeSandbox)]);
  // the ids on the disk stay as they are
  const rootfs = ids ? layers.map((mount) => ({ ...mount, options: ['idmap', ...mount.options] })) : layers;
  writeEtcFiles(world, container);

  undo.defer(() => closeSharedMemory(world, record));
  await openSharedMemory(world, record);
  undo.defer(() => world.volumes.release(record.id));
  await using sources = await step('mounts', () => openMountSources(world, record));
  const spec = runtimeSpec(record, specInputs(world, record, layers, sources.byDestination));
  spec.process?.env?.push(...container.lentEnv);
  undo.defer(() => detachNetworks(world, container));
  undo.defer(() => world.nameServers.close(container.id));
  const size = consoleSizeOf(host.ConsoleSize);
  await checkSink(world, container);
  const log = logOf(world, record);
  if (log) await mkdir(dirname(log.path), { recursive: true, mode: 0o710 });
  // the kernel does not care which comes first, and the client waits for both
  const creating = step('runtime', () =>
    world.runtime.create(record.id, {
      spec,
      rootfs,
      stdio: {
        terminal: config.Tty === true,
        openStdin: config.OpenStdin === true,
        stdinOnce: config.StdinOnce === true,
        ...(size ? { consoleSize: { columns: size.width, rows: size.height } } : {}),
        ...(log ? { log: logFile(log) } : {}),
      },
    }),
  );
  undo.defer(async () => {
    const made = await creating.catch(() => undefined);
    await made?.delete({ force: true });
  });
  const connecting = step('network', async () => {
    await attachNetworks(world, container);
    await world.nameServers.settle(container);
  });
  const [handle] = await allSettled([creating, connecting]);
  writeEtcFiles(world, container);
  // endpoints survive a crash from here on: the next start finds them in the row
  world.store.saveState(container);

  await allSettled([...container.clients].map((client) => client.connect(handle)));
  await step('process', () => handle.start());
  undo.move();
  return handle;
}

function logFile({ path, maxSizeBytes, maxFiles }: ContainerLog): LogFile {
  return { path, format: 'json-file', ...(maxSizeBytes > 0 ? { maxSizeBytes, maxFiles } : {}) };
}

/** A container whose log cannot be sent to where it is to go does not start. */
async function checkSink(world: ContainerWorld, { record }: LiveContainer): Promise<void> {
  const sink = await openLogSink(world, record);
  await sink?.[Symbol.asyncDispose]();
}

/** How long clients may take to read the last output before the monitor that holds it goes. */
const DRAIN_MS = 10_000;

/** Resolves when every client of the container has had all of its output, or took too long over it. */
export async function drainClients(container: LiveContainer): Promise<void> {
  if (container.clients.size === 0) return;
  const timeout = AbortSignal.timeout(DRAIN_MS);
  const { promise: late, resolve } = Promise.withResolvers<void>();
  timeout.addEventListener('abort', () => resolve(), { once: true });
  await Promise.race([Promise.all([...container.clients].map((client) => client.done)), late]);
}

/** Takes away what a run of the container held: the runtime's state, endpoints, the sandbox. Gathers failures. */
export async function tearDown(world: ContainerWorld, container: LiveContainer): Promise<void> {
  const { handle } = container;
  container.handle = undefined;
  const files = containerFiles(world.paths, container.id);
  const results = await Promise.allSettled([
    (handle ? handle.delete({ force: true }) : Promise.resolve()).finally(() =>
      world.volumes.release(container.id),
    ),
    closeSharedMemory(world, container.record),
    world.nameServers
      .close(container.id)
      .finally(() => detachNetworks(world, container))
      .finally(() => world.sandboxes.remove(files.sandbox))
      .finally(() => world.userNamespaces.remove(files.userNamespace)),
  ]);
  for (const result of results) {
    if (result.status === 'rejected') {
      world.log.error(
        { err: result.reason as unknown, container: container.id },
        `container ${container.id}: clean-up failed: ${messageOf(result.reason)}`,
      );
    }
  }
  await handle?.[Symbol.asyncDispose]();
}

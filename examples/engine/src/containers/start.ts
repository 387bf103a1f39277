/** Starting a container: sandbox, networks, runtime, attached clients, and then the gate. */
import { randomBytes } from 'node:crypto';
import type { Container, LogFile } from '@tare/runtime-native';

import { conflict, messageOf, notModified } from '../errors.ts';
import { portMappings } from '../networks/ports.ts';
import { allSettled, runAll } from '../settle.ts';
import { formatTime, nowNs } from '../time.ts';
import type { NetworkAttachment } from './container.ts';
import { hostResolvConf, hostsFile, readIfThere, resolvConf, writeInPlace } from './etc-files.ts';
import { containerStartFailure } from './runtime-errors.ts';
import { consoleSizeOf, runtimeSpec } from './runtime-spec.ts';
import { containerHostname, networkOwner, specInputs } from './spec-inputs.ts';
import type { LiveContainer } from './store.ts';
import { containerFiles, type ContainerWorld } from './world.ts';

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
    });
    world.store.saveState(container);
    world.store.publish(container, 'start');
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
  const { record, state } = container;
  const { config, hostConfig: host } = record;
  const files = containerFiles(world.paths, record.id);
  const ownSandbox = host.NetworkMode !== 'host' && !networkOwner(world, host);
  await using undo = new AsyncDisposableStack();

  const [rootfs] = await allSettled([
    world.snapshotter.mounts(record.id),
    ownSandbox ? world.sandboxes.create(files.sandbox) : undefined,
  ]);
  if (ownSandbox) undo.defer(() => world.sandboxes.remove(files.sandbox));
  writeEtcFiles(world, container, undefined);

  const spec = runtimeSpec(record, specInputs(world, record, rootfs));
  undo.defer(() => detachNetworks(world, container));
  const size = consoleSizeOf(host.ConsoleSize);
  const log = logFile(container, files.log);
  // the kernel does not care which comes first, and the client waits for both
  const creating = world.runtime.create(record.id, {
    spec,
    rootfs,
    stdio: {
      terminal: config.Tty === true,
      openStdin: config.OpenStdin === true,
      stdinOnce: config.StdinOnce === true,
      ...(size ? { consoleSize: { columns: size.width, rows: size.height } } : {}),
      ...(log ? { log } : {}),
    },
  });
  undo.defer(async () => {
    const made = await creating.catch(() => undefined);
    await made?.delete({ force: true });
  });
  const [handle] = await allSettled([creating, attachNetworks(world, container)]);
  writeEtcFiles(world, container, gatewayOf(state.networks));
  // endpoints survive a crash from here on: the next start finds them in the row
  world.store.saveState(container);

  await allSettled([...container.clients].map((client) => client.connect(handle)));
  await handle.start();
  undo.move();
  return handle;
}

/** Attaches every network of the container, the one with the default route first. */
async function attachNetworks(world: ContainerWorld, container: LiveContainer): Promise<void> {
  const { record, state } = container;
  const { config, hostConfig: host } = record;
  if (host.NetworkMode === 'host' || host.NetworkMode?.startsWith('container:')) {
    nameNetworks(world, state.networks);
    return;
  }
  const sandbox = containerFiles(world.paths, record.id).sandbox;
  const bridged = nameNetworks(world, state.networks).filter(({ driver }) => driver === 'bridge');
  if (bridged.length === 0) await world.sandboxes.bringUpLoopback(sandbox);
  const ports = portMappings(config, host);
  for (const [index, { attachment }] of bridged.entries()) {
    const { settings } = attachment;
    attachment.endpoint = await world.networks.attach(
      attachment.networkId,
      {
        id: randomBytes(32).toString('hex'),
        sandbox,
        interfaceName: `eth${index}`,
        defaultRoute: index === 0,
        ...(settings.IPAMConfig?.IPv4Address ? { ipv4Address: settings.IPAMConfig.IPv4Address } : {}),
        ...macAddress(settings.MacAddress || (index === 0 ? config.MacAddress : undefined)),
        ...(index === 0 ? { ports } : {}),
      },
      { id: record.id, name: record.name },
    );
  }
}

function macAddress(address: string | undefined): { macAddress?: string } {
  return address ? { macAddress: address } : {};
}

/** Looks the networks up, in the order their gateways are preferred: priority, then name. */
function nameNetworks(
  world: ContainerWorld,
  networks: Readonly<Record<string, NetworkAttachment>>,
): { name: string; driver: string; attachment: NetworkAttachment }[] {
  return Object.entries(networks)
    .map(([name, attachment]) => {
      const { id, driver } = world.networks.find(name);
      attachment.networkId = id;
      return { name, driver, attachment };
    })
    .sort(
      (a, b) =>
        (b.attachment.settings.GwPriority ?? 0) - (a.attachment.settings.GwPriority ?? 0) ||
        (a.name < b.name ? -1 : 1),
    );
}

/** Detaches every network the container is attached to. */
export async function detachNetworks(world: ContainerWorld, container: LiveContainer): Promise<void> {
  const attached = Object.values(container.state.networks).filter(({ endpoint }) => endpoint);
  await runAll(
    attached.map((attachment) => async () => {
      await world.networks.detach(attachment.networkId, attachment.endpoint!.id, container.id);
      delete attachment.endpoint;
    }),
  );
}

function gatewayOf(networks: Readonly<Record<string, NetworkAttachment>>): string | undefined {
  return Object.values(networks).find(({ endpoint }) => endpoint?.gateway)?.endpoint?.gateway;
}

function writeEtcFiles(world: ContainerWorld, container: LiveContainer, gateway: string | undefined): void {
  const { record, state } = container;
  const { config, hostConfig: host } = record;
  const files = containerFiles(world.paths, record.id);
  if (host.NetworkMode?.startsWith('container:')) return;
  const hostname = containerHostname(record);
  writeInPlace(files.hostname, `${hostname}\n`);
  const hostNetwork = host.NetworkMode === 'host';
  const names = [config.Domainname ? `${hostname}.${config.Domainname} ${hostname}` : hostname];
  const addresses = Object.values(state.networks).flatMap(({ endpoint }) =>
    endpoint ? [endpoint.ipv4Address.split('/')[0]!] : [],
  );
  const own = hostsFile({ extraHosts: host.ExtraHosts ?? [], gateway, addresses, names });
  writeInPlace(
    files.hosts,
    hostNetwork && !host.ExtraHosts?.length ? (readIfThere('/etc/hosts') ?? own) : own,
  );
  const choice = { servers: host.Dns ?? [], search: host.DnsSearch ?? [], options: host.DnsOptions ?? [] };
  const asHost = hostNetwork && Object.values(choice).every((list) => list.length === 0);
  const hostConf = asHost ? (readIfThere('/etc/resolv.conf') ?? '') : hostResolvConf();
  writeInPlace(files.resolvConf, asHost ? hostConf : resolvConf(hostConf, choice));
}

const SIZE_UNITS: Record<string, number> = { '': 1, b: 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3, t: 1024 ** 4 };

/** Where the monitor writes the log; undefined for the driver `none`. */
function logFile(container: LiveContainer, path: string): LogFile | undefined {
  const { Type: type = 'json-file', Config: options = {} } = container.record.hostConfig.LogConfig ?? {};
  if (type === 'none') return undefined;
  const size = /^(\d+(?:\.\d+)?)\s*([bkmgt]?)(?:i?b)?$/i.exec(options['max-size'] ?? '');
  const maxSizeBytes = size ? Math.floor(Number(size[1]) * SIZE_UNITS[size[2]!.toLowerCase()]!) : 0;
  const maxFiles = Number.parseInt(options['max-file'] ?? '', 10);
  return {
    path,
    format: 'json-file',
    ...(maxSizeBytes > 0 ? { maxSizeBytes } : {}),
    ...(maxFiles > 0 ? { maxFiles } : {}),
  };
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
    handle ? handle.delete({ force: true }) : Promise.resolve(),
    detachNetworks(world, container).finally(() => world.sandboxes.remove(files.sandbox)),
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

/** The composition root: the only file that names implementations. */
import { join } from 'node:path';
import { DEFAULT_REGISTRY } from '@tare/image-spec';
import { FileHasher, openLayerStore } from '@tare/layer-store';
import { createBridgeDriver, createIpvlanDriver, createMacvlanDriver, openDnsServer } from '@tare/netdriver';
import {
  createNativeRuntime,
  detectCgroups,
  initProgram,
  layerFs,
  sweepCgroups,
  trimMemory,
} from '@tare/runtime-native';
import type { Logger } from 'pino';
import {
  nativeDatagram,
  nativeHostMounts,
  nativeRootSyscalls,
  nativeSandboxes,
  nativeSeccomp,
  nativeTrees,
  nativeUnixDatagrams,
  nativeUserNamespaces,
} from './adapters.ts';
import { loadConfig } from './config.ts';
import { DAEMON_USAGE, type Config } from './config-keys.ts';
import { Engine, type EngineParts } from './engine.ts';
import { messageOf } from './errors.ts';
import { openLog } from './log.ts';
import { MemoryKeeper } from './memory.ts';
import { Pidfile } from './pidfile.ts';
import { Registries } from './registries.ts';
import { needsRestart } from './reload.ts';
import { makeRoot, startFailure } from './start-failure.ts';
import { inheritedSockets, serviceManager, withInherited } from './system/service-manager.ts';

/**
 * `tare daemon`: runs until SIGTERM or SIGINT.
 *
 * @param argv - the arguments after `daemon`
 * @returns the exit code
 */
export async function runDaemon(argv: readonly string[]): Promise<number> {
  if (argv.includes('--help') || argv.includes('-h')) {
    process.stdout.write(DAEMON_USAGE);
    return 0;
  }
  let config: Config;
  try {
    const parsed = loadConfig(argv);
    if (parsed.validate) {
      process.stdout.write('configuration OK\n');
      return 0;
    }
    ({ config } = parsed);
  } catch (error) {
    process.stderr.write(`${messageOf(error)}\n`);
    return 1;
  }

  const log = openLog(config.logLevel);
  // before anything starts: a signal during the start ends it right after
  const stop = stopSignal(config);
  try {
    using _pidfile = Pidfile.acquire(config.pidfile);
    await using resources = new AsyncDisposableStack();
    const manager = serviceManager(process.env, nativeDatagram);
    const sockets = inheritedSockets(process.env, process.pid);
    const complete = (given: Config): Config =>
      Object.assign(given, { hosts: withInherited(given.hosts, sockets) });
    complete(config);
    await using engine = await Engine.start(config, {
      ...(await openParts(config, log, resources)),
      inheritedSockets: sockets,
    });
    const ready = ['READY=1', `STATUS=Listening on ${engine.addresses.join(', ')}`];
    const onHangup = (): void => {
      manager.notify('RELOADING=1', `MONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`);
      reload(engine, config, () => complete(loadConfig(argv).config), log);
      manager.notify(...ready);
    };
    process.on('SIGHUP', onHangup);
    resources.defer(() => void process.off('SIGHUP', onHangup));
    manager.notify(...ready);
    const signal = await stop;
    manager.notify('STOPPING=1');
    log.info({ signal }, 'shutting down');
  } catch (error) {
    const { whyNot } = await import('./doctor/doctor.ts');
    const reason = (await whyNot(config)) ?? startFailure(error, config);
    // said in words; where in the program it is, is for those who debug
    log.debug({ err: error }, messageOf(error));
    process.stderr.write(`tare daemon: ${reason}\n`);
    return 1;
  }
  log.info('engine has stopped');
  return 0;
}

/** Reads the configuration anew; one that is wrong changes nothing. */
function reload(engine: Engine, config: Config, read: () => Config, log: Logger): void {
  try {
    const next = read();
    const waiting = needsRestart(config, next);
    engine.reload(next);
    if (waiting.length > 0) log.warn({ waiting }, 'some of the new configuration waits for the next start');
  } catch (error) {
    log.error({ err: error }, `the configuration was not reloaded: ${messageOf(error)}`);
  }
}

/** Cgroup that the containers' own go below. */
const CGROUP_PARENT = '/tare';

/** What unpacks layers on threads of its own: beside this file in the sources as in the bundle. */
const UNPACK_PROGRAM = new URL(
  import.meta.url.endsWith('.ts') ? './unpack.worker.ts' : './unpack.worker.js',
  import.meta.url,
);

/** Chooses the implementation behind every seam. What has to be closed goes into `resources`. */
async function openParts(
  config: Config,
  log: Logger,
  resources: AsyncDisposableStack,
): Promise<Omit<EngineParts, 'inheritedSockets'>> {
  makeRoot('--data-root', config.dataRoot);
  makeRoot('--exec-root', config.execRoot);
  const registries = resources.use(
    new Registries(async () => {
      const { RegistryClient } = await import('@tare/registry-client');
      return new RegistryClient({
        insecure: config.insecureRegistries,
        mirrors: { ...config.mirrors, [DEFAULT_REGISTRY]: config.registryMirrors },
        retry: { attempts: config.maxDownloadAttempts },
        // connections are plain ones where there is nothing to ask the environment for
        ...(behindProxy(process.env) && { proxy: 'environment' }),
      });
    }),
  );
  // an idle engine leaves no cgroup behind; but what is below may be another engine's, about to start a container
  resources.defer(() => sweepCgroups(CGROUP_PARENT, { below: false }));
  const memory = resources.use(new MemoryKeeper(trimMemory));
  const layers = resources.use(
    await openLayerStore({
      root: join(config.dataRoot, 'layers'),
      fs: layerFs,
      workers: { program: UNPACK_PROGRAM },
    }),
  );
  return {
    log,
    content: layers.content,
    snapshotter: layers.snapshots,
    // what clients of dockerd know it by
    snapshotterName: 'overlay2',
    unpacker: layers,
    layers,
    hasher: resources.use(new FileHasher()),
    blobs: layers.content,
    openRepository: registries.openRepository,
    searchRegistry: registries.search,
    login: registries.login,
    onRequest: () => memory.stir(),
    reconfigured(current) {
      log.level = current.logLevel;
      registries.reload();
    },
    containers: {
      runtime: createNativeRuntime({ stateDirectory: join(config.execRoot, 'containers') }),
      networkDrivers: {
        bridge: resources.use(createBridgeDriver()),
        macvlan: resources.use(createMacvlanDriver()),
        ipvlan: resources.use(createIpvlanDriver()),
      },
      openDns: openDnsServer,
      sandboxes: nativeSandboxes,
      seccomp: nativeSeccomp,
      syscalls: nativeRootSyscalls(layerFs),
      trees: nativeTrees(layerFs),
      hostMounts: nativeHostMounts,
      cgroupParent: CGROUP_PARENT,
      init: { program: initProgram, always: config.init },
      openUnixDatagrams: nativeUnixDatagrams,
      userNamespaces: nativeUserNamespaces,
      cgroupVersion: detectCgroups().kind === 'v2' ? 2 : 1,
    },
  };
}

function behindProxy(environment: NodeJS.ProcessEnv): boolean {
  return ['HTTP_PROXY', 'HTTPS_PROXY', 'http_proxy', 'https_proxy'].some((name) => environment[name]);
}

/** Signals after the first that make the engine leave at once. */
const FORCE_SIGNALS = 3;

/** Resolves at the first SIGTERM or SIGINT; the third, or a shutdown that takes too long, ends the process. */
function stopSignal(config: Pick<Config, 'shutdownTimeoutS'>): Promise<NodeJS.Signals> {
  const { promise, resolve } = Promise.withResolvers<NodeJS.Signals>();
  let count = 0;
  const onSignal = (signal: NodeJS.Signals): void => {
    count += 1;
    if (count >= FORCE_SIGNALS) process.exit(1);
    if (count > 1) return;
    resolve(signal);
    const timeoutS = config.shutdownTimeoutS;
    setTimeout(() => {
      process.stderr.write(`shutdown took longer than ${timeoutS} seconds; leaving\n`);
      process.exit(1);
    }, timeoutS * 1000).unref();
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  return promise;
}

if (import.meta.main) process.exitCode = await runDaemon(process.argv.slice(2));

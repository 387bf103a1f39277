/** What `version`, `info` and `df` say. */
import { randomUUID } from 'node:crypto';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Config } from '../config-keys.ts';
import { LOG_DRIVERS } from '../logs/drivers.ts';
import type { EventBus } from '../events/event-bus.ts';
import { API_VERSION, MIN_API_VERSION } from '../http/api-version.ts';
import type { AuthConfig, SystemService } from '../http/routes/system.ts';
import type { Images } from '../images/images.ts';
import type { Containers } from '../containers/containers.ts';
import { diskUsage, type DiskUsageSources } from './disk-usage.ts';
import { formatTime, nowNs } from '../time.ts';
import { BUILD_TIME, ENGINE_VERSION, GIT_COMMIT, TARE_VERSION } from '../version.ts';
import { readHostFacts, readIfThere, type HostFacts } from './host-facts.ts';

/** Checks credentials; implemented in main on the registry client. @throws {EngineError} `UNAUTHORIZED` */
export type Login = (credentials: AuthConfig, signal: AbortSignal) => Promise<{ identityToken: string }>;

export interface SystemInfoOptions {
  config: Config;
  events: EventBus;
  images: Images;
  containers: DiskUsageSources['containers'] & Pick<Containers, 'counts'>;
  volumes: DiskUsageSources['volumes'];
  buildCache: DiskUsageSources['buildCache'];
  login: Login;
  /** Name of the storage driver. */
  storageDriver: string;
}

/** Facts about the engine and its machine. */
export class SystemInfo implements SystemService {
  readonly #options: SystemInfoOptions;
  readonly #host: HostFacts = readHostFacts();
  readonly #id: string;

  constructor(options: SystemInfoOptions) {
    this.#options = options;
    this.#id = engineId(join(options.config.dataRoot, 'engine-id'));
  }

  /** The engine's own id, which stays the same. */
  get id(): string {
    return this.#id;
  }

  /** Go's name of the processor: `amd64`. */
  get architecture(): string {
    return this.#host.architecture;
  }

  version(): Record<string, unknown> {
    const host = this.#host;
    return {
      Platform: { Name: `Tare ${TARE_VERSION}` },
      Components: [
        {
          Name: 'Engine',
          Version: ENGINE_VERSION,
          Details: {
            ApiVersion: API_VERSION,
            Arch: host.architecture,
            BuildTime: BUILD_TIME,
            Experimental: 'false',
            GitCommit: GIT_COMMIT,
            GoVersion: NODE,
            KernelVersion: host.kernelVersion,
            MinAPIVersion: MIN_API_VERSION,
            Os: 'linux',
          },
        },
      ],
      Version: ENGINE_VERSION,
      ApiVersion: API_VERSION,
      MinAPIVersion: MIN_API_VERSION,
      GitCommit: GIT_COMMIT,
      GoVersion: NODE,
      Os: 'linux',
      Arch: host.architecture,
      KernelVersion: host.kernelVersion,
      BuildTime: BUILD_TIME,
    };
  }

  info(): Promise<Record<string, unknown>> {
    const { config, events, images, containers, storageDriver } = this.#options;
    const { cgroup, ...host } = this.#host;
    const { running, paused, stopped } = containers.counts();
    const ipv4Forwarding = readIfThere('/proc/sys/net/ipv4/ip_forward').trim() === '1';
    return Promise.resolve({
      ID: this.#id,
      Containers: running + paused + stopped,
      ContainersRunning: running,
      ContainersPaused: paused,
      ContainersStopped: stopped,
      Images: images.table.list().length,
      Driver: storageDriver,
      DriverStatus: [['Supports d_type', 'true']],
      Plugins: {
        Volume: ['local'],
        Network: ['bridge', 'host', 'ipvlan', 'macvlan', 'null'],
        Authorization: null,
        Log: [...LOG_DRIVERS],
      },
      MemoryLimit: cgroup.memory,
      SwapLimit: cgroup.swap,
      KernelMemoryTCP: cgroup.kernelMemoryTcp,
      CpuCfsPeriod: cgroup.cpu,
      CpuCfsQuota: cgroup.cpu,
      CPUShares: cgroup.cpu,
      CPUSet: cgroup.cpuset,
      PidsLimit: cgroup.pids,
      IPv4Forwarding: ipv4Forwarding,
      Debug: config.logLevel === 'debug' || config.logLevel === 'trace',
      NFd: readdirSync('/proc/self/fd').length,
      OomKillDisable: cgroup.oomKillDisable,
      // the nearest thing here: what keeps the event loop alive
      NGoroutines: process.getActiveResourcesInfo().length,
      SystemTime: formatTime(nowNs()),
      LoggingDriver: config.containerDefaults.logDriver,
      CgroupDriver: 'cgroupfs',
      CgroupVersion: cgroup.version,
      NEventsListener: events.listeners,
      KernelVersion: host.kernelVersion,
      OperatingSystem: host.operatingSystem,
      OSVersion: host.osVersion,
      OSType: 'linux',
      Architecture: host.machine,
      IndexServerAddress: 'https://index.docker.io/v1/',
      RegistryConfig: registryConfig(config),
      NCPU: host.cpus,
      MemTotal: host.memoryBytes,
      GenericResources: null,
      DockerRootDir: config.dataRoot,
      HttpProxy: redactUrl(process.env['HTTP_PROXY'] ?? ''),
      HttpsProxy: redactUrl(process.env['HTTPS_PROXY'] ?? ''),
      NoProxy: process.env['NO_PROXY'] ?? '',
      Name: host.name,
      Labels: config.labels,
      ExperimentalBuild: false,
      ServerVersion: ENGINE_VERSION,
      Runtimes: { [RUNTIME]: { path: '' } },
      DefaultRuntime: RUNTIME,
      Swarm: {
        NodeID: '',
        NodeAddr: '',
        LocalNodeState: 'inactive',
        ControlAvailable: false,
        Error: '',
        RemoteManagers: null,
      },
      // containers outlive the engine, always
      LiveRestoreEnabled: true,
      Isolation: '',
      InitBinary: 'tare-init',
      ContainerdCommit: { ID: '' },
      RuncCommit: { ID: '' },
      InitCommit: { ID: '' },
      SecurityOptions: [
        'name=seccomp,profile=builtin',
        ...(config.usernsRemap ? ['name=userns'] : []),
        ...(this.#host.cgroupNamespaces ? ['name=cgroupns'] : []),
      ],
      FirewallBackend: { Driver: 'nftables' },
      CDISpecDirs: null,
      Warnings: warnings(this.#host),
    });
  }

  authenticate(credentials: AuthConfig, signal: AbortSignal): Promise<{ identityToken: string }> {
    return this.#options.login(credentials, signal);
  }

  diskUsage(types: readonly string[]): Promise<Record<string, unknown>> {
    return diskUsage(this.#options, types);
  }
}

/** The name of the one runtime there is. */
const RUNTIME = 'native';
/** Stands where Docker has its Go version: what this engine runs on. */
const NODE = `node ${process.version}`;

/** The engine's id: made at the first start and kept. */
function engineId(path: string): string {
  const known = readIfThere(path).trim();
  if (known !== '') return known;
  const id = randomUUID();
  writeFileSync(path, `${id}\n`, { mode: 0o600 });
  return id;
}

function registryConfig(config: Config): Record<string, unknown> {
  const isCidr = (text: string): boolean => text.includes('/');
  const hosts = config.insecureRegistries.filter((text) => !isCidr(text));
  return {
    InsecureRegistryCIDRs: ['::1/128', '127.0.0.0/8', ...config.insecureRegistries.filter(isCidr)],
    IndexConfigs: {
      ...Object.fromEntries(
        Object.entries(config.mirrors).map(([name, mirrors]) => [
          name,
          { Name: name, Mirrors: mirrors, Secure: true, Official: false },
        ]),
      ),
      'docker.io': { Name: 'docker.io', Mirrors: config.registryMirrors, Secure: true, Official: true },
      ...Object.fromEntries(
        hosts.map((name) => [
          name,
          { Name: name, Mirrors: config.mirrors[name] ?? [], Secure: false, Official: false },
        ]),
      ),
    },
    Mirrors: config.registryMirrors.length > 0 ? config.registryMirrors : null,
  };
}

function warnings(host: HostFacts): string[] | null {
  const { memory, swap, cpu, pids } = host.cgroup;
  const list = [
    ...(memory ? [] : ['WARNING: No memory limit support']),
    ...(memory && !swap ? ['WARNING: No swap limit support'] : []),
    ...(cpu ? [] : ['WARNING: No cpu cfs quota support']),
    ...(pids ? [] : ['WARNING: No pids limit support']),
  ];
  return list.length > 0 ? list : null;
}

/** A proxy's URL without its password. */
function redactUrl(text: string): string {
  if (!URL.canParse(text)) return text;
  const url = new URL(text);
  if (url.username === '') return text;
  url.username = 'xxxxx';
  url.password = 'xxxxx';
  return url.href;
}

/** Compiles the flags of `create` and `run` into the Engine API's request to create a container. */
import { readFileSync } from 'node:fs';
import { CliError, UsageError, messageOf, openError } from './errors.ts';
import type { ContainerFlags } from './run-flags.ts';
import { expandVariable, keyValueMap, readKeyValueFile, type Environment } from './values/key-value.ts';
import { parseDevice } from './values/devices.ts';
import { normalizeCapabilities, parseRestart } from './values/limits.ts';
import type { NetworkAttachment } from './values/networks.ts';
import { parseTmpfs, parseVolume } from './values/mounts.ts';
import { parseExpose, parsePublish, type PortBinding } from './values/ports.ts';

/** What the flags are read against: the client's own environment and directory. */
export interface ConfigSurroundings {
  environment: Environment;
  workingDirectory: string;
  /** Variables that every container gets unless it says otherwise: the user's proxy. */
  proxyVariables: Readonly<Record<string, string>>;
}

/** The body of `POST /containers/create`. Only what the client looks at again is typed. */
export interface CreateRequest {
  [field: string]: unknown;
  Image: string;
  AttachStdin: boolean;
  AttachStdout: boolean;
  AttachStderr: boolean;
  Tty: boolean;
  OpenStdin: boolean;
  StdinOnce: boolean;
  HostConfig: { [field: string]: unknown; AutoRemove: boolean; ConsoleSize: [rows: number, columns: number] };
}

/**
 * Builds the request.
 *
 * @param given the flags that were on the command line, where absence differs from the default
 * @throws {UsageError} for values that contradict each other or are malformed
 * @throws {CliError} for files that cannot be read
 */
export function buildCreateRequest(
  flags: ContainerFlags,
  given: ReadonlySet<string>,
  [image, ...command]: readonly string[],
  surroundings: ConfigSurroundings,
): CreateRequest {
  const autoRemove = flags.rm;
  const restart = parseRestart(flags.restart);
  if (autoRemove && !['', 'no'].includes(restart.Name)) {
    throw new UsageError('conflicting options: cannot specify both --restart and --rm');
  }
  const attached = new Set(flags.attach.length === 0 ? ['stdout', 'stderr'] : flags.attach);
  if (flags.interactive && flags.attach.length === 0) attached.add('stdin');
  const ports = portsOf(flags);
  const volumes = flags.volume.map((text) => parseVolume(text, surroundings.workingDirectory));
  const request: CreateRequest = {
    Hostname: flags.hostname,
    Domainname: flags.domainname,
    User: flags.user,
    AttachStdin: attached.has('stdin'),
    AttachStdout: attached.has('stdout'),
    AttachStderr: attached.has('stderr'),
    Tty: flags.tty,
    OpenStdin: flags.interactive,
    StdinOnce: flags.interactive && attached.has('stdin'),
    Env: environmentOf(flags, surroundings),
    Cmd: command.length > 0 ? command : null,
    Image: image!,
    Volumes: Object.fromEntries(
      volumes.flatMap((volume) => ('volume' in volume ? [[volume.volume, {}]] : [])),
    ),
    WorkingDir: flags.workdir,
    Entrypoint: given.has('entrypoint') ? [flags.entrypoint] : null,
    Labels: keyValueMap([...flags.labelFile.flatMap((path) => readKeyValueFile(path)), ...flags.label]),
    HostConfig: {
      ...resourcesOf(flags, given),
      ...securityOf(flags),
      Binds: orNull(volumes.flatMap((volume) => ('bind' in volume ? [volume.bind] : []))),
      ContainerIDFile: flags.cidfile,
      LogConfig: { Type: flags.logDriver, Config: logOptions(flags) },
      NetworkMode: flags.network[0]?.Target || 'default',
      PortBindings: ports.bindings,
      RestartPolicy: restart,
      AutoRemove: autoRemove,
      VolumeDriver: flags.volumeDriver,
      VolumesFrom: orNull(flags.volumesFrom),
      ConsoleSize: [0, 0],
      Dns: flags.dns,
      DnsOptions: flags.dnsOption,
      DnsSearch: flags.dnsSearch,
      ExtraHosts: orNull(flags.addHost),
      GroupAdd: orNull(flags.groupAdd),
      Isolation: flags.isolation,
      Links: orNull(flags.link),
      PublishAllPorts: flags.publishAll,
      ReadonlyRootfs: flags.readOnly,
      ShmSize: flags.shmSize,
      ...(flags.runtime && { Runtime: flags.runtime }),
      ...(given.has('init') && { Init: flags.init }),
      ...(flags.tmpfs.length > 0 && { Tmpfs: Object.fromEntries(flags.tmpfs.map(parseTmpfs)) }),
      ...(flags.gpus.length > 0 && { DeviceRequests: flags.gpus }),
      ...(flags.mount.length > 0 && { Mounts: flags.mount }),
      ...(flags.sysctl.length > 0 && { Sysctls: keyValueMap(flags.sysctl) }),
      ...(flags.storageOpt.length > 0 && { StorageOpt: storageOptions(flags.storageOpt) }),
      ...(flags.annotation.length > 0 && { Annotations: keyValueMap(flags.annotation) }),
    },
    NetworkingConfig: { EndpointsConfig: endpointsOf(flags) },
  };
  if (ports.exposed.size > 0) {
    request['ExposedPorts'] = Object.fromEntries([...ports.exposed].map((port) => [port, {}]));
  }
  const health = healthOf(flags);
  if (health) request['Healthcheck'] = health;
  if (flags.stopSignal) request['StopSignal'] = flags.stopSignal;
  if (flags.stopTimeout !== undefined) request['StopTimeout'] = flags.stopTimeout;
  return request;
}

/** Go clients send `null` for lists nobody filled; the daemon treats it as empty. */
function orNull<T>(items: readonly T[]): readonly T[] | null {
  return items.length === 0 ? null : items;
}

function environmentOf(
  flags: ContainerFlags,
  { environment, proxyVariables }: ConfigSurroundings,
): readonly string[] | null {
  const entries = [
    ...flags.envFile.flatMap((path) => readKeyValueFile(path, environment)),
    ...flags.env.map((text) => expandVariable(text, environment)),
  ];
  // The last value of a variable counts; its place is that of the first.
  const variables = new Map(entries.map((entry) => [entry.split('=', 1)[0]!, entry]));
  for (const [name, value] of Object.entries(proxyVariables)) {
    if (!variables.has(name)) variables.set(name, `${name}=${value}`);
  }
  return orNull([...variables.values()]);
}

function portsOf(flags: ContainerFlags): { exposed: Set<string>; bindings: Record<string, PortBinding[]> } {
  const exposed = new Set<string>();
  const bindings: Record<string, PortBinding[]> = {};
  for (const { port, binding } of flags.publish.flatMap(parsePublish)) {
    exposed.add(port);
    (bindings[port] ??= []).push(binding);
  }
  for (const port of flags.expose.flatMap(parseExpose)) exposed.add(port);
  return { exposed, bindings };
}

function resourcesOf(flags: ContainerFlags, given: ReadonlySet<string>): Record<string, unknown> {
  if (given.has('memorySwappiness') && (flags.memorySwappiness < -1 || flags.memorySwappiness > 100)) {
    throw new UsageError(`invalid value: ${flags.memorySwappiness}. Valid memory swappiness range is 0-100`);
  }
  return {
    CpuShares: flags.cpuShares,
    Memory: flags.memory,
    NanoCpus: flags.cpus,
    CgroupParent: flags.cgroupParent,
    BlkioWeight: flags.blkioWeight,
    BlkioWeightDevice: flags.blkioWeightDevice,
    BlkioDeviceReadBps: flags.deviceReadBps,
    BlkioDeviceWriteBps: flags.deviceWriteBps,
    BlkioDeviceReadIOps: flags.deviceReadIops,
    BlkioDeviceWriteIOps: flags.deviceWriteIops,
    CpuCount: flags.cpuCount,
    CpuPercent: flags.cpuPercent,
    CpuRealtimePeriod: flags.cpuRtPeriod,
    CpuRealtimeRuntime: flags.cpuRtRuntime,
    IOMaximumIOps: flags.ioMaxiops,
    IOMaximumBandwidth: flags.ioMaxbandwidth,
    KernelMemory: flags.kernelMemory,
    CpuPeriod: flags.cpuPeriod,
    CpuQuota: flags.cpuQuota,
    CpusetCpus: flags.cpusetCpus,
    CpusetMems: flags.cpusetMems,
    Devices: flags.device.map(parseDevice),
    DeviceCgroupRules: orNull(flags.deviceCgroupRule),
    MemoryReservation: flags.memoryReservation,
    MemorySwap: flags.memorySwap,
    MemorySwappiness: flags.memorySwappiness,
    OomKillDisable: flags.oomKillDisable,
    PidsLimit: flags.pidsLimit,
    Ulimits: flags.ulimit,
    OomScoreAdj: flags.oomScoreAdj,
  };
}

function securityOf(flags: ContainerFlags): Record<string, unknown> {
  const { options, unmasked } = securityOptions(flags.securityOpt);
  requireMode('--pid: invalid PID mode', flags.pid, /^(?:host|container:.+)?$/);
  requireMode('--uts: invalid UTS mode', flags.uts, /^(?:host)?$/);
  requireMode('--userns: invalid USER mode', flags.userns, /^(?:host|private|auto)?$/);
  requireMode('--cgroupns: invalid CGROUP mode', flags.cgroupns, /^(?:host|private)?$/);
  return {
    CapAdd: orNull(normalizeCapabilities(flags.capAdd)),
    CapDrop: orNull(normalizeCapabilities(flags.capDrop)),
    CgroupnsMode: flags.cgroupns,
    IpcMode: flags.ipc,
    PidMode: flags.pid,
    Privileged: flags.privileged,
    SecurityOpt: orNull(options),
    UTSMode: flags.uts,
    UsernsMode: flags.userns,
    MaskedPaths: unmasked ? [] : null,
    ReadonlyPaths: unmasked ? [] : null,
  };
}

function requireMode(message: string, value: string, pattern: RegExp): void {
  if (!pattern.test(value)) throw new UsageError(message);
}

/** `seccomp=<file>` becomes the profile itself; `systempaths=unconfined` is spelled out as paths. */
function securityOptions(values: readonly string[]): { options: string[]; unmasked: boolean } {
  let unmasked = false;
  const options = values.flatMap((value) => {
    const at = value.search(/[=:]/);
    if (at === -1 && value !== 'no-new-privileges')
      throw new UsageError(`Invalid --security-opt: ${JSON.stringify(value)}`);
    const name = at === -1 ? value : value.slice(0, at);
    const setting = at === -1 ? '' : value.slice(at + 1);
    if (name === 'systempaths' && setting === 'unconfined') {
      unmasked = true;
      return [];
    }
    if (name !== 'seccomp' || setting === 'unconfined' || setting === 'builtin') return [value];
    return [`seccomp=${readProfile(setting)}`];
  });
  return { options, unmasked };
}

function readProfile(path: string): string {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new CliError(`opening seccomp profile (${path}) failed: ${openError(path, cause)}`, { cause });
  }
  try {
    return JSON.stringify(JSON.parse(text));
  } catch (cause) {
    throw new CliError(`compacting json for seccomp profile (${path}) failed: ${messageOf(cause)}`, {
      cause,
    });
  }
}

function logOptions(flags: ContainerFlags): Record<string, string> {
  if (flags.logDriver === 'none' && flags.logOpt.length > 0) {
    throw new UsageError('invalid logging opts for driver none');
  }
  return keyValueMap(flags.logOpt);
}

function storageOptions(values: readonly string[]): Record<string, string> {
  if (values.some((value) => !value.includes('='))) throw new UsageError('invalid storage option');
  return keyValueMap(values);
}

function healthOf(flags: ContainerFlags): Record<string, unknown> | undefined {
  const intervals = {
    Interval: flags.healthInterval,
    Timeout: flags.healthTimeout,
    StartPeriod: flags.healthStartPeriod,
    StartInterval: flags.healthStartInterval,
  };
  const wanted =
    flags.healthCmd !== '' || flags.healthRetries !== 0 || Object.values(intervals).some(Boolean);
  if (flags.noHealthcheck) {
    if (wanted) throw new UsageError('--no-healthcheck conflicts with --health-* options');
    return { Test: ['NONE'] };
  }
  if (!wanted) return undefined;
  for (const [name, value] of Object.entries(intervals)) {
    if (value !== undefined && value < 0n) {
      throw new UsageError(
        `--health-${name.replace(/(?!^)[A-Z]/g, (letter) => `-${letter}`).toLowerCase()} cannot be negative`,
      );
    }
  }
  if (flags.healthRetries < 0) throw new UsageError('--health-retries cannot be negative');
  return {
    ...(flags.healthCmd !== '' && { Test: ['CMD-SHELL', flags.healthCmd] }),
    ...Object.fromEntries(Object.entries(intervals).filter(([, value]) => value)),
    ...(flags.healthRetries !== 0 && { Retries: flags.healthRetries }),
  };
}

/** Modes that are no network of their own and take no endpoint settings. */
function isUserDefined(target: string): boolean {
  return !['', 'default', 'bridge', 'host', 'none'].includes(target) && !target.startsWith('container:');
}

function endpointsOf(flags: ContainerFlags): Record<string, unknown> {
  const networks = flags.network.length > 0 ? flags.network : [defaultNetwork];
  const endpoints: Record<string, unknown> = {};
  if (networks.length > 1 && networks.some(({ Target }) => !isUserDefined(Target))) {
    throw new UsageError(
      'conflicting options: cannot attach both user-defined and non-user-defined network-modes',
    );
  }
  for (const [position, network] of networks.entries()) {
    const settings = position === 0 ? withSingleFlags(network, flags) : network;
    if (endpoints[settings.Target]) {
      throw new UsageError(`network ${JSON.stringify(settings.Target)} is specified multiple times`);
    }
    const endpoint = endpointOf(settings);
    if (Object.keys(endpoint).length > 0 && !isUserDefined(settings.Target) && settings.Aliases.length > 0) {
      throw new UsageError('network-scoped aliases are only supported for user-defined networks');
    }
    if (Object.keys(endpoint).length > 0 || isUserDefined(settings.Target))
      endpoints[settings.Target] = endpoint;
  }
  return endpoints;
}

const defaultNetwork: NetworkAttachment = {
  Target: 'default',
  Aliases: [],
  DriverOpts: {},
  Links: [],
  IPv4Address: '',
  IPv6Address: '',
  LinkLocalIPs: [],
  MacAddress: '',
  GwPriority: 0,
};

/** `--ip`, `--network-alias` and their kind belong to the first network, and clash with the same setting in its long form. */
function withSingleFlags(network: NetworkAttachment, flags: ContainerFlags): NetworkAttachment {
  if (flags.macAddress && !/^(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}$/i.test(flags.macAddress)) {
    throw new UsageError(`${flags.macAddress} is not a valid mac address`);
  }
  const conflict = (flag: string): never => {
    throw new UsageError(
      `conflicting options: cannot specify both --${flag} and per-network ${flag === 'network-alias' ? 'alias' : flag}`,
    );
  };
  if (flags.networkAlias.length > 0 && network.Aliases.length > 0) conflict('network-alias');
  if (flags.ip && network.IPv4Address) conflict('ip');
  if (flags.ip6 && network.IPv6Address) conflict('ip6');
  if (flags.macAddress && network.MacAddress) conflict('mac-address');
  return {
    ...network,
    Aliases: [...network.Aliases, ...flags.networkAlias],
    Links: isUserDefined(network.Target) ? [...flags.link] : [],
    IPv4Address: network.IPv4Address || flags.ip,
    IPv6Address: network.IPv6Address || flags.ip6,
    LinkLocalIPs: [...network.LinkLocalIPs, ...flags.linkLocalIp],
    MacAddress: network.MacAddress || flags.macAddress,
  };
}

function endpointOf(network: NetworkAttachment): Record<string, unknown> {
  const addresses = {
    ...(network.IPv4Address && { IPv4Address: network.IPv4Address }),
    ...(network.IPv6Address && { IPv6Address: network.IPv6Address }),
    ...(network.LinkLocalIPs.length > 0 && { LinkLocalIPs: network.LinkLocalIPs }),
  };
  return {
    ...(Object.keys(addresses).length > 0 && { IPAMConfig: addresses }),
    ...(network.Aliases.length > 0 && { Aliases: network.Aliases }),
    ...(network.Links.length > 0 && { Links: network.Links }),
    ...(network.MacAddress && { MacAddress: network.MacAddress }),
    ...(Object.keys(network.DriverOpts).length > 0 && { DriverOpts: network.DriverOpts }),
    ...(network.GwPriority !== 0 && { GwPriority: network.GwPriority }),
  };
}

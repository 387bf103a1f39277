/** Containers in Docker's JSON: list and inspect, null where Go has nil, by API version. Pure. */
import type { Health } from './health.ts';
import type { NetworkAttachment, ContainerRecord, ContainerState, MountPoint } from './container.ts';
import type { ContainerConfig } from './create-request.ts';

import { compareVersions } from '../http/api-version.ts';
import { inspectPorts, listPorts } from '../networks/ports.ts';
import { ZERO_TIME } from '../time.ts';
import { shortId } from './names.ts';
import { renderHostConfig } from './render-host-config.ts';
import { statusPhrase, statusWord } from './status.ts';

/** What rendering needs besides the container itself. */
export interface RenderContext {
  apiVersion: string;
  /** Paths of the engine's own files for this container. */
  files: { resolvConf: string; hostname: string; hosts: string };
  /** Empty when there is none for clients to read. */
  logPath: string;
  /** Ids of running execs; null when there are none. */
  execIds: readonly string[] | null;
  /** Name of the network namespace's file; empty when there is none. */
  sandboxKey: string;
  sandboxId: string;
  /** Name of the snapshotter. */
  driver: string;
  /** Sizes in bytes, when asked for. */
  size?: { rw: number; root: number } | undefined;
}

/** `GET /containers/{id}/json`. */
export function inspectContainer(
  record: ContainerRecord,
  state: ContainerState,
  context: RenderContext,
): unknown {
  const atLeast = (version: string): boolean => compareVersions(context.apiVersion, version) >= 0;
  const { config, hostConfig: host } = record;
  const published = Object.values(state.networks).flatMap(({ endpoint }) => endpoint?.ports ?? []);
  const bridge = state.networks['bridge']?.endpoint;
  return {
    Id: record.id,
    Created: record.created,
    Path: record.path,
    Args: record.args,
    State: {
      Status: statusWord(state),
      Running: state.running,
      Paused: state.paused,
      Restarting: state.restarting,
      OOMKilled: state.oomKilled,
      Dead: state.dead,
      Pid: state.pid,
      ExitCode: state.exitCode,
      Error: state.error,
      StartedAt: state.startedAt ?? ZERO_TIME,
      FinishedAt: state.finishedAt ?? ZERO_TIME,
      ...(state.health ? { Health: renderHealth(state.health) } : {}),
    },
    Image: record.imageId,
    ResolvConfPath: context.files.resolvConf,
    HostnamePath: context.files.hostname,
    HostsPath: context.files.hosts,
    LogPath: context.logPath,
    Name: `/${record.name}`,
    RestartCount: state.restartCount,
    Driver: context.driver,
    Platform: 'linux',
    MountLabel: '',
    ProcessLabel: '',
    AppArmorProfile: '',
    ExecIDs: context.execIds,
    HostConfig: renderHostConfig(host),
    GraphDriver: { Data: null, Name: context.driver },
    ...(context.size ? { SizeRw: context.size.rw, SizeRootFs: context.size.root } : {}),
    Mounts: record.mounts.map(renderMount),
    Config: renderConfig(record),
    NetworkSettings: {
      Bridge: '',
      SandboxID: context.sandboxId,
      SandboxKey: context.sandboxKey,
      Ports: state.running ? inspectPorts(config, published) : {},
      HairpinMode: false,
      LinkLocalIPv6Address: '',
      LinkLocalIPv6PrefixLen: 0,
      SecondaryIPAddresses: null,
      SecondaryIPv6Addresses: null,
      // the top-level address is the default bridge's, from the days before other networks
      EndpointID: bridge?.id ?? '',
      Gateway: bridge?.gateway ?? '',
      GlobalIPv6Address: addressOf(bridge?.ipv6Address).address,
      GlobalIPv6PrefixLen: addressOf(bridge?.ipv6Address).prefixLength,
      IPAddress: addressOf(bridge?.ipv4Address).address,
      IPPrefixLen: addressOf(bridge?.ipv4Address).prefixLength,
      IPv6Gateway: bridge?.gateway6 ?? '',
      MacAddress: bridge?.macAddress ?? '',
      Networks: Object.fromEntries(
        Object.entries(state.networks).map(([name, attachment]) => [
          name,
          inspectEndpoint(attachment, record, { userNetwork: isUserNetwork(name), atLeast }),
        ]),
      ),
    },
  };
}

/** One element of `GET /containers/json`. */
export function listContainer(
  record: ContainerRecord,
  state: ContainerState,
  options: { apiVersion: string; imageName: string; size?: { rw: number; root: number } | undefined },
): unknown {
  const published = Object.values(state.networks).flatMap(({ endpoint }) => endpoint?.ports ?? []);
  const annotations = record.hostConfig.Annotations;
  return {
    Id: record.id,
    Names: [`/${record.name}`],
    Image: options.imageName,
    ImageID: record.imageId,
    Command: commandText(record.path, record.args),
    Created: Math.floor(Date.parse(record.created) / 1000),
    Ports: state.running ? listPorts(record.config, published) : [],
    // Go leaves zeros out here
    ...(options.size?.rw ? { SizeRw: options.size.rw } : {}),
    ...(options.size?.root ? { SizeRootFs: options.size.root } : {}),
    Labels: record.config.Labels ?? {},
    State: statusWord(state),
    Status: statusPhrase(state),
    HostConfig: {
      NetworkMode: record.hostConfig.NetworkMode ?? '',
      ...(annotations && compareVersions(options.apiVersion, '1.46') >= 0
        ? { Annotations: annotations }
        : {}),
    },
    NetworkSettings: {
      Networks: Object.fromEntries(
        Object.entries(state.networks).map(([name, attachment]) => [name, renderEndpoint(attachment)]),
      ),
    },
    Mounts: record.mounts.map(renderMount),
  };
}

/** The command line on one line, arguments with spaces in single quotes, as `ps` shows it. */
export function commandText(path: string, args: readonly string[]): string {
  if (args.length === 0) return path;
  return `${path} ${args.map((arg) => (arg.includes(' ') ? `'${arg}'` : arg)).join(' ')}`;
}

function addressOf(cidr: string | undefined): { address: string; prefixLength: number } {
  const [address = '', prefix = '0'] = (cidr ?? '').split('/');
  return { address, prefixLength: Number(prefix) };
}

/** An endpoint; `named` adds the names that the container answers to there. */
export function renderEndpoint(
  attachment: NetworkAttachment,
  named?: ContainerRecord,
): Record<string, unknown> {
  const { settings, endpoint, networkId } = attachment;
  const { address, prefixLength } = addressOf(endpoint?.ipv4Address);
  const ipv6 = addressOf(endpoint?.ipv6Address);
  const dnsNames = named
    ? [...new Set([named.name, ...(settings.Aliases ?? []), shortId(named.id), named.config.Hostname ?? ''])]
    : null;
  return {
    IPAMConfig: settings.IPAMConfig ?? null,
    Links: settings.Links ?? null,
    Aliases: settings.Aliases ?? null,
    MacAddress: endpoint?.macAddress ?? settings.MacAddress ?? '',
    DriverOpts: settings.DriverOpts ?? null,
    GwPriority: settings.GwPriority ?? 0,
    NetworkID: networkId,
    EndpointID: endpoint?.id ?? '',
    Gateway: endpoint?.gateway ?? '',
    IPAddress: address,
    IPPrefixLen: prefixLength,
    IPv6Gateway: endpoint?.gateway6 ?? '',
    GlobalIPv6Address: ipv6.address,
    GlobalIPv6PrefixLen: ipv6.prefixLength,
    DNSNames: dnsNames?.filter((name) => name !== '') ?? null,
  };
}

/** An endpoint of inspect: on users' networks with the names it answers to, which were aliases below 1.45. */
function inspectEndpoint(
  attachment: NetworkAttachment,
  record: ContainerRecord,
  { userNetwork, atLeast }: { userNetwork: boolean; atLeast: (version: string) => boolean },
): unknown {
  const endpoint = renderEndpoint(attachment, userNetwork && atLeast('1.44') ? record : undefined);
  if (!userNetwork || atLeast('1.45')) return endpoint;
  const hostname = record.config.Hostname || shortId(record.id);
  const aliases = new Set([...(attachment.settings.Aliases ?? []), shortId(record.id), hostname]);
  return { ...endpoint, Aliases: [...aliases] };
}

function isUserNetwork(name: string): boolean {
  return !['bridge', 'host', 'none', 'default'].includes(name);
}

/** One entry of `Mounts` in list and inspect. */
export function renderMount(mount: MountPoint): unknown {
  return {
    Type: mount.type,
    ...(mount.name === undefined ? {} : { Name: mount.name }),
    Source: mount.source,
    Destination: mount.destination,
    ...(mount.driver === undefined ? {} : { Driver: mount.driver }),
    Mode: mount.mode,
    RW: mount.readWrite,
    Propagation: mount.propagation,
  };
}

function renderConfig({ id, config }: ContainerRecord): Record<string, unknown> {
  const optional = <K extends keyof ContainerConfig>(key: K): Record<string, unknown> =>
    config[key] === undefined ? {} : { [key]: config[key] };
  return {
    Hostname: config.Hostname || shortId(id),
    Domainname: config.Domainname ?? '',
    User: config.User ?? '',
    AttachStdin: config.AttachStdin ?? false,
    AttachStdout: config.AttachStdout ?? false,
    AttachStderr: config.AttachStderr ?? false,
    ...(Object.keys(config.ExposedPorts ?? {}).length > 0 ? { ExposedPorts: config.ExposedPorts } : {}),
    Tty: config.Tty ?? false,
    OpenStdin: config.OpenStdin ?? false,
    StdinOnce: config.StdinOnce ?? false,
    Env: config.Env ?? [],
    Cmd: config.Cmd ?? null,
    ...optional('Healthcheck'),
    Image: config.Image ?? '',
    Volumes: Object.keys(config.Volumes ?? {}).length > 0 ? config.Volumes : null,
    WorkingDir: config.WorkingDir ?? '',
    Entrypoint: config.Entrypoint ?? null,
    ...(config.NetworkDisabled ? { NetworkDisabled: true } : {}),
    ...(config.MacAddress ? { MacAddress: config.MacAddress } : {}),
    OnBuild: config.OnBuild ?? null,
    Labels: config.Labels ?? {},
    ...(config.StopSignal ? { StopSignal: config.StopSignal } : {}),
    ...optional('StopTimeout'),
    ...(config.Shell?.length ? { Shell: config.Shell } : {}),
  };
}

function renderHealth({ status, failingStreak, log }: Health): unknown {
  return {
    Status: status,
    FailingStreak: failingStreak,
    Log: log.map(({ start, end, exitCode, output }) => ({
      Start: start,
      End: end,
      ExitCode: exitCode,
      Output: output,
    })),
  };
}

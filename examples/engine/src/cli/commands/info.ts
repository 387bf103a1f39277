/** `tare info`: describes the engine and its machine. */
import { defineCommand } from '../command.ts';
import { CliError, messageOf } from '../errors.ts';
import { string } from '../flags.ts';
import { objectFormatHelp } from '../format-flag.ts';
import { compileTemplate } from '../format/go-template.ts';
import { stringifyJson } from '../format/json-text.ts';
import { binarySize } from '../format/units.ts';
import { TARE_VERSION } from '../../version.ts';

/** The fields of `GET /info` that are shown, in Docker's spelling. */
interface SystemInfo {
  [field: string]: unknown;
  ID: string;
  Containers: number;
  ContainersRunning: number;
  ContainersPaused: number;
  ContainersStopped: number;
  Images: number;
  ServerVersion: string;
  Driver: string;
  DriverStatus: [string, string][] | null;
  LoggingDriver: string;
  CgroupDriver: string;
  CgroupVersion?: string;
  Plugins: {
    Volume: string[] | null;
    Network: string[] | null;
    Authorization: string[] | null;
    Log: string[] | null;
  };
  CDISpecDirs?: string[] | null;
  Swarm?: { LocalNodeState: string };
  Runtimes: Record<string, unknown> | null;
  DefaultRuntime: string;
  InitBinary: string;
  ContainerdCommit: { ID: string };
  RuncCommit: { ID: string };
  InitCommit: { ID: string };
  SecurityOptions: string[] | null;
  KernelVersion: string;
  OperatingSystem: string;
  OSType: string;
  Architecture: string;
  NCPU: number;
  MemTotal: number;
  Name: string;
  DockerRootDir: string;
  Debug: boolean;
  NFd?: number;
  NGoroutines?: number;
  SystemTime?: string;
  NEventsListener?: number;
  HttpProxy: string;
  HttpsProxy: string;
  NoProxy: string;
  Labels: string[] | null;
  ExperimentalBuild: boolean;
  RegistryConfig?: {
    InsecureRegistryCIDRs?: string[] | null;
    IndexConfigs?: Record<string, { Secure: boolean; Name: string }> | null;
    Mirrors?: string[] | null;
  } | null;
  LiveRestoreEnabled: boolean;
  ProductLicense?: string;
  DefaultAddressPools?: { Base: string; Size: number }[] | null;
  Warnings: string[] | null;
}

/** Collects lines; a value that is empty takes its line away. */
class Lines {
  readonly #lines: string[] = [];

  add(label: string, value: string | number | boolean | undefined): this {
    if (value !== undefined && value !== '') this.#lines.push(` ${label}: ${value}`);
    return this;
  }

  /** As {@link add}, shown even when the value is empty. */
  line(label: string, value: string | undefined): this {
    this.#lines.push(` ${label}: ${value ?? ''}`);
    return this;
  }

  list(label: string, items: readonly string[]): this {
    if (items.length > 0) this.#lines.push(` ${label}:`, ...items.map((item) => `  ${item}`));
    return this;
  }

  toString(): string {
    return this.#lines.map((line) => `${line}\n`).join('');
  }
}

function pluginLines({ Plugins }: SystemInfo): string[] {
  const line = (label: string, names: string[] | null): string[] =>
    names && names.length > 0 ? [`${label}: ${names.join(' ')}`] : [];
  return [
    `Volume: ${(Plugins.Volume ?? []).join(' ')}`,
    `Network: ${(Plugins.Network ?? []).join(' ')}`,
    ...line('Authorization', Plugins.Authorization),
    `Log: ${(Plugins.Log ?? []).join(' ')}`,
  ];
}

/** `name=seccomp,profile=builtin` → `seccomp`, then its options indented below. */
function securityLines({ SecurityOptions }: SystemInfo): string[] {
  return (SecurityOptions ?? []).flatMap((text) => {
    const pairs = text.split(',').map((pair) => pair.split('=') as [string, string]);
    const [, name = text] = pairs.find(([key]) => key === 'name') ?? [];
    return [name, ...pairs.flatMap(([key, value]) => (key === 'profile' ? [` Profile: ${value}`] : []))];
  });
}

function insecureRegistries({ RegistryConfig }: SystemInfo): string[] {
  const indexes = Object.values(RegistryConfig?.IndexConfigs ?? {}).flatMap(({ Secure, Name }) =>
    Secure ? [] : [Name],
  );
  return [...indexes.sort(), ...(RegistryConfig?.InsecureRegistryCIDRs ?? [])];
}

function serverLines(info: SystemInfo): string {
  const lines = new Lines()
    .add('Containers', info.Containers)
    .add(' Running', info.ContainersRunning)
    .add(' Paused', info.ContainersPaused)
    .add(' Stopped', info.ContainersStopped)
    .add('Images', info.Images)
    .add('Server Version', info.ServerVersion)
    .add('Storage Driver', info.Driver);
  for (const [key, value] of info.DriverStatus ?? []) lines.add(` ${key}`, value);
  lines
    .add('Logging Driver', info.LoggingDriver)
    .add('Cgroup Driver', info.CgroupDriver)
    .add('Cgroup Version', info.CgroupVersion)
    .list('Plugins', pluginLines(info))
    .list('CDI spec directories', info.CDISpecDirs ?? [])
    .add('Swarm', info.Swarm?.LocalNodeState)
    .add(
      'Runtimes',
      Object.keys(info.Runtimes ?? {})
        .sort()
        .join(' '),
    )
    .add('Default Runtime', info.DefaultRuntime)
    .line('Init Binary', info.InitBinary)
    .line('containerd version', info.ContainerdCommit?.ID)
    .line('runc version', info.RuncCommit?.ID)
    .line('init version', info.InitCommit?.ID)
    .list('Security Options', securityLines(info))
    .add('Kernel Version', info.KernelVersion)
    .add('Operating System', info.OperatingSystem)
    .add('OSType', info.OSType)
    .add('Architecture', info.Architecture)
    .add('CPUs', info.NCPU)
    .add('Total Memory', binarySize(info.MemTotal))
    .add('Name', info.Name)
    .add('ID', info.ID)
    .add('Docker Root Dir', info.DockerRootDir)
    .add('Debug Mode', info.Debug);
  if (info.Debug) {
    lines
      .add(' File Descriptors', info.NFd)
      .add(' Goroutines', info.NGoroutines)
      .add(' System Time', info.SystemTime)
      .add(' EventsListeners', info.NEventsListener);
  }
  return lines
    .add('HTTP Proxy', info.HttpProxy)
    .add('HTTPS Proxy', info.HttpsProxy)
    .add('No Proxy', info.NoProxy)
    .list('Labels', info.Labels ?? [])
    .add('Experimental', info.ExperimentalBuild)
    .list('Insecure Registries', insecureRegistries(info))
    .list('Registry Mirrors', info.RegistryConfig?.Mirrors ?? [])
    .add('Live Restore Enabled', info.LiveRestoreEnabled)
    .add('Product License', info.ProductLicense)
    .list(
      'Default Address Pools',
      (info.DefaultAddressPools ?? []).map(({ Base, Size }) => ` Base: ${Base}, Size: ${Size}`),
    )
    .toString();
}

/** `info`. */
export const command = defineCommand({
  usage: '[OPTIONS]',
  summary: 'Display system-wide information',
  args: { min: 0 },
  flags: { format: string(objectFormatHelp, { short: 'f' }) },
  async run({ cli, flags }) {
    const client = { Version: TARE_VERSION, Context: cli.contextName, Debug: cli.globals.debug };
    if (flags.format !== '') {
      const info = await cli.client.json<SystemInfo>('GET', '/info');
      cli.print(format(flags.format, { ...info, ClientInfo: client }));
      return;
    }
    const heading = `Client:\n Version:    ${client.Version}\n Context:    ${client.Context}\n Debug Mode: ${client.Debug}\n\nServer:\n`;
    let info: SystemInfo;
    try {
      info = await cli.client.json<SystemInfo>('GET', '/info');
    } catch (error) {
      cli.stdout.write(heading);
      throw error;
    }
    cli.stdout.write(`${heading}${serverLines(info)}\n`);
    for (const warning of info.Warnings ?? []) cli.warn(warning);
  },
});

function format(template: string, value: unknown): string {
  if (template === 'json') return stringifyJson(value);
  try {
    return compileTemplate(template).execute(value);
  } catch (cause) {
    throw new CliError(`template parsing error: ${messageOf(cause)}`, { exitCode: 64, cause });
  }
}

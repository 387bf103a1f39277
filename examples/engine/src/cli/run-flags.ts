/** The flags of `create` and `run` that describe a container. */
import { isIP } from 'node:net';
import { UsageError } from './errors.ts';
import { integer, list, listOf, optionalInteger, parsed, string, toggle, type FlagValues } from './flags.ts';
import { parseDuration } from './values/duration.ts';
import { requireVariableName } from './values/key-value.ts';
import { parseDeviceBytes, parseDeviceOperations, parseDeviceWeight, parseGpus } from './values/devices.ts';
import { parseUlimit } from './values/limits.ts';
import { parseExtraHost, parseNetwork } from './values/networks.ts';
import { parseMount } from './values/mounts.ts';
import { parseCpus, parseSize, parseSwapSize } from './values/size.ts';

const bytes = (help: string, short?: string) => parsed(parseSize, 'bytes', 0, help, short ? { short } : {});
const duration = (help: string) => parsed(parseDuration, 'duration', undefined as bigint | undefined, help);

/** Sysctls that a namespace holds; all others belong to the host. */
const sysctlNames = new Set(
  'msgmax msgmnb msgmni sem shmall shmmax shmmni shm_rmid_forced'.split(' ').map((name) => `kernel.${name}`),
);

function parseSysctl(text: string): string {
  const name = text.split('=', 1)[0]!;
  const allowed = text.includes('=') && (sysctlNames.has(name) || /^(?:net|fs\.mqueue)\./.test(name));
  if (!allowed) throw new UsageError(`sysctl '${text}' is not allowed`);
  return text;
}

function parseDeviceRule(text: string): string {
  if (!/^[acb] (?:\d+|\*):(?:\d+|\*) [rwm]{1,3}$/.test(text))
    throw new UsageError(`invalid device cgroup format '${text}'`);
  return text;
}

function parseStream(text: string): string {
  const name = text.toLowerCase();
  if (!['stdin', 'stdout', 'stderr'].includes(name))
    throw new UsageError('valid streams are STDIN, STDOUT and STDERR');
  return name;
}

function parseLabel(text: string): string {
  if (text.startsWith('=')) throw new UsageError(`invalid label '${text}': empty name`);
  return text;
}

function parseAddress(text: string): string {
  if (isIP(text.trim()) === 0) throw new UsageError(`IP address is not correctly formatted: ${text}`);
  return text.trim();
}

/** A limit on a block device. */
const deviceLimit = <T>(parse: (text: string) => T, help: string) =>
  listOf(parse, help, { placeholder: 'list' });

export const containerFlags = {
  addHost: listOf(parseExtraHost, 'Add a custom host-to-IP mapping (host:ip)'),
  annotation: list('Add an annotation to the container (passed through to the OCI runtime)', {
    placeholder: 'map',
  }),
  attach: listOf(parseStream, 'Attach to STDIN, STDOUT or STDERR', { short: 'a' }),
  blkioWeight: integer('Block IO (relative weight), between 10 and 1000, or 0 to disable'),
  blkioWeightDevice: deviceLimit(parseDeviceWeight, 'Block IO weight (relative device weight)'),
  capAdd: list('Add Linux capabilities'),
  capDrop: list('Drop Linux capabilities'),
  cgroupParent: string('Optional parent cgroup for the container'),
  cgroupns: string('Cgroup namespace to use (host|private)'),
  cidfile: string('Write the container ID to the file'),
  cpuCount: integer('CPU count (Windows only)'),
  cpuPercent: integer('CPU percent (Windows only)'),
  cpuPeriod: integer('Limit CPU CFS (Completely Fair Scheduler) period'),
  cpuQuota: integer('Limit CPU CFS (Completely Fair Scheduler) quota'),
  cpuRtPeriod: integer('Limit CPU real-time period in microseconds'),
  cpuRtRuntime: integer('Limit CPU real-time runtime in microseconds'),
  cpuShares: integer('CPU shares (relative weight)', { short: 'c' }),
  cpus: parsed(parseCpus, 'decimal', 0, 'Number of CPUs'),
  cpusetCpus: string('CPUs in which to allow execution (0-3, 0,1)'),
  cpusetMems: string('MEMs in which to allow execution (0-3, 0,1)'),
  device: list('Add a host device to the container'),
  deviceCgroupRule: listOf(parseDeviceRule, 'Add a rule to the cgroup allowed devices list'),
  deviceReadBps: deviceLimit(parseDeviceBytes, 'Limit read rate (bytes per second) from a device'),
  deviceReadIops: deviceLimit(parseDeviceOperations, 'Limit read rate (IO per second) from a device'),
  deviceWriteBps: deviceLimit(parseDeviceBytes, 'Limit write rate (bytes per second) to a device'),
  deviceWriteIops: deviceLimit(parseDeviceOperations, 'Limit write rate (IO per second) to a device'),
  dns: listOf(parseAddress, 'Set custom DNS servers'),
  dnsOption: list('Set DNS options', { alias: 'dns-opt' }),
  dnsSearch: list('Set custom DNS search domains'),
  domainname: string('Container NIS domain name'),
  entrypoint: string('Overwrite the default ENTRYPOINT of the image'),
  env: listOf(requireVariableName, 'Set environment variables', { short: 'e' }),
  envFile: list('Read in a file of environment variables'),
  expose: list('Expose a port or a range of ports'),
  gpus: listOf(parseGpus, "GPU devices to add to the container ('all' to pass all GPUs)", {
    placeholder: 'gpu-request',
  }),
  groupAdd: list('Add additional groups to join'),
  healthCmd: string('Command to run to check health'),
  healthInterval: duration('Time between running the check (ms|s|m|h)'),
  healthRetries: integer('Consecutive failures needed to report unhealthy'),
  healthStartInterval: duration('Time between running the check during the start period (ms|s|m|h)'),
  healthStartPeriod: duration(
    'Start period for the container to initialize before starting health-retries countdown (ms|s|m|h)',
  ),
  healthTimeout: duration('Maximum time to allow one check to run (ms|s|m|h)'),
  hostname: string('Container host name', { short: 'h' }),
  init: toggle('Run an init inside the container that forwards signals and reaps processes'),
  interactive: toggle('Keep STDIN open even if not attached', { short: 'i' }),
  ioMaxbandwidth: bytes('Maximum IO bandwidth limit for the system drive (Windows only)'),
  ioMaxiops: integer('Maximum IOps limit for the system drive (Windows only)'),
  ip: string('IPv4 address (e.g., 172.30.100.104)'),
  ip6: string('IPv6 address (e.g., 2001:db8::33)'),
  ipc: string('IPC mode to use'),
  isolation: string('Container isolation technology'),
  kernelMemory: bytes('Kernel memory limit'),
  label: listOf(parseLabel, 'Set meta data on a container', { short: 'l' }),
  labelFile: list('Read in a line delimited file of labels'),
  link: list('Add link to another container'),
  linkLocalIp: list('Container IPv4/IPv6 link-local addresses'),
  logDriver: string('Logging driver for the container'),
  logOpt: list('Log driver options'),
  macAddress: string('Container MAC address (e.g., 92:d0:c6:0a:29:33)'),
  memory: bytes('Memory limit', 'm'),
  memoryReservation: bytes('Memory soft limit'),
  memorySwap: parsed(
    parseSwapSize,
    'bytes',
    0,
    "Swap limit equal to memory plus swap: '-1' to enable unlimited swap",
  ),
  memorySwappiness: integer('Tune container memory swappiness (0 to 100)', { initial: -1 }),
  mount: listOf((text) => parseMount(text, process.cwd()), 'Attach a filesystem mount to the container', {
    placeholder: 'mount',
  }),
  network: listOf(parseNetwork, 'Connect a container to a network', { placeholder: 'network', alias: 'net' }),
  networkAlias: list('Add network-scoped alias for the container', { alias: 'net-alias' }),
  noHealthcheck: toggle('Disable any container-specified HEALTHCHECK'),
  oomKillDisable: toggle('Disable OOM Killer'),
  oomScoreAdj: integer("Tune host's OOM preferences (-1000 to 1000)"),
  pid: string('PID namespace to use'),
  pidsLimit: integer('Tune container pids limit (set -1 for unlimited)'),
  privileged: toggle('Give extended privileges to this container'),
  publish: list("Publish a container's port(s) to the host", { short: 'p' }),
  publishAll: toggle('Publish all exposed ports to random ports', { short: 'P' }),
  readOnly: toggle("Mount the container's root filesystem as read only"),
  restart: string('Restart policy to apply when a container exits', { initial: 'no' }),
  rm: toggle('Automatically remove the container and its associated anonymous volumes when it exits'),
  runtime: string('Runtime to use for this container'),
  securityOpt: list('Security Options'),
  shmSize: bytes('Size of /dev/shm'),
  stopSignal: string('Signal to stop the container'),
  stopTimeout: optionalInteger('Timeout (in seconds) to stop a container'),
  storageOpt: list('Storage driver options for the container'),
  sysctl: listOf(parseSysctl, 'Sysctl options', { placeholder: 'map' }),
  tmpfs: list('Mount a tmpfs directory'),
  tty: toggle('Allocate a pseudo-TTY', { short: 't' }),
  ulimit: listOf(parseUlimit, 'Ulimit options', { placeholder: 'ulimit' }),
  user: string('Username or UID (format: <name|uid>[:<group|gid>])', { short: 'u' }),
  userns: string('User namespace to use'),
  uts: string('UTS namespace to use'),
  volume: list('Bind mount a volume', { short: 'v' }),
  volumeDriver: string('Optional volume driver for the container'),
  volumesFrom: list('Mount volumes from the specified container(s)'),
  workdir: string('Working directory inside the container', { short: 'w' }),
};

/** Flags of `create` and `run` about how the container comes to be. */
export const creationFlags = {
  disableContentTrust: toggle('Skip image verification', { initial: true }),
  name: string('Assign a name to the container'),
  platform: string('Set platform if server is multi-platform capable'),
  pull: string('Pull image before running ("always", "missing", "never")', { initial: 'missing' }),
  quiet: toggle('Suppress the pull output', { short: 'q' }),
  useApiSocket: toggle("Bind mount the daemon's API socket and required auth"),
};

export type ContainerFlags = FlagValues<typeof containerFlags>;
export type CreationFlags = FlagValues<typeof creationFlags>;

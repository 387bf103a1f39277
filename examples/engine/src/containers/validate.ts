/** What dockerd refuses in a create or update request before touching anything, in dockerd's words. Pure. */
import { invalid } from '../errors.ts';
import { parseCapability } from './capabilities.ts';
import type { ContainerConfig } from './create-request.ts';
import type { HostConfig, Resources, RestartPolicy } from './host-config.ts';
import { parseSignal } from './signals.ts';

/** Below 6 MiB no process gets far enough to start (moby's linuxMinMemory). */
const MIN_MEMORY_BYTES = 6 * 1024 * 1024;
/** Above any kernel's CPU or node count; keeps `0-4294967295` from being expanded (CVE-2018-20699). */
const MAX_CPUSET_INDEX = 8192;
const NS_PER_MS = 1_000_000;

/** What the checks need to know of this machine. */
export interface HostFacts {
  /** Online CPUs. */
  cpus: number;
  /** As in `cpuset.cpus.effective`, for example `0-3`. */
  cpuset?: string;
  /** As in `cpuset.mems.effective`. */
  memoryNodes?: string;
}

/** @throws {EngineError} `INVALID` for the first thing wrong */
export function validateConfig(config: ContainerConfig): void {
  if (config.WorkingDir && !config.WorkingDir.startsWith('/')) {
    throw invalid(`the working directory '${config.WorkingDir}' is invalid, it needs to be an absolute path`);
  }
  if ((config.Hostname?.length ?? 0) > 64) {
    throw invalid(`invalid hostname: '${config.Hostname}' is longer than 64 characters`);
  }
  if (config.StopSignal) parseSignal(config.StopSignal);
  for (const entry of config.Env ?? []) {
    if (entry === '' || entry.startsWith('=')) throw invalid(`invalid environment variable: ${entry}`);
  }
  const health = config.Healthcheck;
  for (const key of ['Interval', 'Timeout', 'StartPeriod', 'StartInterval'] as const) {
    const value = health?.[key] ?? 0;
    if (value !== 0 && value < NS_PER_MS) throw invalid(`${key} in Healthcheck cannot be less than 1ms`);
  }
  if ((health?.Retries ?? 0) < 0) throw invalid('Retries in Healthcheck cannot be negative');
}

/** @throws {EngineError} `INVALID` for the first thing wrong */
export function validateHostConfig(host: HostConfig, config: ContainerConfig, facts: HostFacts): void {
  const policy = host.RestartPolicy ?? {};
  if (host.AutoRemove && policy.Name && policy.Name !== 'no') {
    throw invalid("can't create 'AutoRemove' container with restart policy");
  }
  for (const entry of host.ExtraHosts ?? []) {
    const at = entry.indexOf(':');
    if (at <= 0 || at === entry.length - 1) throw invalid(`bad format for add-host: "${entry}"`);
  }
  validateRestartPolicy(policy);
  validatePortBindings(host.PortBindings ?? {});
  for (const [field, names] of [
    ['CapAdd', host.CapAdd],
    ['CapDrop', host.CapDrop],
  ] as const) {
    for (const name of names ?? []) {
      if (parseCapability(name) === undefined) {
        const full = name.toUpperCase();
        throw invalid(
          `invalid ${field}: unknown capability: "${full.startsWith('CAP_') ? full : `CAP_${full}`}"`,
        );
      }
    }
  }
  validateModes(host, config);
  if ((host.ShmSize ?? 0) < 0) throw invalid('SHM size can not be less than 0');
  const score = host.OomScoreAdj ?? 0;
  if (score < -1000 || score > 1000) {
    throw invalid(`Invalid value ${score}, range for oom score adj is [-1000, 1000]`);
  }
  validateResources(host, facts);
}

/** @throws {EngineError} `INVALID` */
export function validateRestartPolicy(policy: RestartPolicy): void {
  const { Name: name = '', MaximumRetryCount: count = 0 } = policy;
  const bad = (reason: string): Error => invalid(`invalid restart policy: ${reason}`);
  switch (name) {
    case '':
    case 'no':
    case 'always':
    case 'unless-stopped':
      if (count === 0) return;
      throw bad(
        `maximum retry count can only be used with 'on-failure'${count < 0 ? ' and cannot be negative' : ''}`,
      );
    case 'on-failure':
      if (count < 0) throw bad('maximum retry count cannot be negative');
      return;
    default:
      throw bad(`unknown policy '${name}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'`);
  }
}

/** `80/tcp`, `80`, `8000-8010/udp`. */
const CONTAINER_PORT = /^(\d{1,5})(?:-(\d{1,5}))?(?:\/(tcp|udp|sctp))?$/;
const HOST_PORT = /^(?:(\d{1,5})(?:-(\d{1,5}))?)?$/;

function validatePortBindings(bindings: NonNullable<HostConfig['PortBindings']>): void {
  const check = (text: string, pattern: RegExp): void => {
    const match = pattern.exec(text);
    const ports = [match?.[1], match?.[2]].filter((port) => port !== undefined).map(Number);
    if (!match || ports.some((port) => port > 65_535) || (ports[1] ?? 65_535) < (ports[0] ?? 0)) {
      throw invalid(`invalid port specification: "${text}"`);
    }
  };
  for (const [port, list] of Object.entries(bindings)) {
    check(port, CONTAINER_PORT);
    for (const binding of list ?? []) check(binding.HostPort ?? '', HOST_PORT);
  }
}

function validateModes(host: HostConfig, config: ContainerConfig): void {
  const network = host.NetworkMode ?? '';
  const check = (kind: string, mode: string | undefined, words: readonly string[]): void => {
    if (!mode || words.includes(mode)) return;
    if (words.includes('container:') && /^container:./.test(mode)) return;
    throw invalid(`invalid ${kind} mode: ${mode}`);
  };
  check('IPC', host.IpcMode, ['none', 'private', 'shareable', 'host', 'container:']);
  check('PID', host.PidMode, ['host', 'container:']);
  check('UTS', host.UTSMode, ['host']);
  check('user namespace', host.UsernsMode, ['host', 'private', 'auto']);
  check('cgroup namespace', host.CgroupnsMode, ['private', 'host']);
  if (host.UTSMode === 'host' && config.Hostname) {
    throw invalid('conflicting options: hostname and the UTS mode');
  }
  if (network === 'container:') throw invalid('invalid container format container:<name|id>');
  const shares = network.startsWith('container:');
  const clash = (what: string): Error => invalid(`conflicting options: ${what}`);
  if (shares && config.Hostname) throw clash('hostname and the network mode');
  if (network === 'host' && host.Links?.length) {
    throw clash("host type networking can't be used with links. This would result in undefined behavior");
  }
  if (shares) {
    if (host.Links?.length) {
      throw clash("container type network can't be used with links. This would result in undefined behavior");
    }
    if (host.Dns?.length) throw clash('dns and the network mode');
    if (host.ExtraHosts?.length) throw clash('custom host-to-IP mapping and the network mode');
    if (config.MacAddress) throw clash('mac-address and the network mode');
    if (Object.keys(host.PortBindings ?? {}).length > 0 || host.PublishAllPorts) {
      throw clash('port publishing and the container type network mode');
    }
    if (Object.keys(config.ExposedPorts ?? {}).length > 0) {
      throw clash('port exposing and the container type network mode');
    }
  }
  for (const name of Object.keys(host.Sysctls ?? {})) {
    if (network === 'host' && name.startsWith('net.')) {
      throw invalid(`sysctl "${name}" not allowed in host network namespace`);
    }
  }
}

/** The limits of a create or an update. @throws {EngineError} `INVALID` */
export function validateResources(resources: Resources, facts: HostFacts): void {
  const value = (key: 'Memory' | 'MemorySwap' | 'MemoryReservation' | 'NanoCpus'): number =>
    resources[key] ?? 0;
  const memory = value('Memory');
  const swap = value('MemorySwap');
  const reservation = value('MemoryReservation');
  if (memory !== 0 && memory < MIN_MEMORY_BYTES) throw invalid('Minimum memory limit allowed is 6MB');
  if (memory > 0 && swap > 0 && swap < memory) {
    throw invalid('Minimum memoryswap limit should be larger than memory limit, see usage');
  }
  if (memory === 0 && swap > 0) {
    throw invalid('You should always set the Memory limit when using Memoryswap limit, see usage');
  }
  const swappiness = resources.MemorySwappiness ?? -1;
  if (swappiness < -1 || swappiness > 100) {
    throw invalid(`Invalid value: ${swappiness}, valid memory swappiness range is 0-100`);
  }
  if (reservation > 0 && reservation < MIN_MEMORY_BYTES) {
    throw invalid('Minimum memory reservation allowed is 6MB');
  }
  if (memory > 0 && reservation > memory) {
    throw invalid('Minimum memory limit can not be less than memory reservation limit, see usage');
  }
  validateCpu(resources, facts);
  const weight = resources.BlkioWeight ?? 0;
  if (weight !== 0 && (weight < 10 || weight > 1000)) {
    throw invalid('Range of blkio weight is from 10 to 1000');
  }
}

function validateCpu(resources: Resources, facts: HostFacts): void {
  const { NanoCpus: nano = 0, CpuPeriod: period = 0, CpuQuota: quota = 0, CpuShares: shares = 0 } = resources;
  if (nano > 0 && period > 0) {
    throw invalid('Conflicting options: Nano CPUs and CPU Period cannot both be set');
  }
  if (nano > 0 && quota > 0) {
    throw invalid('Conflicting options: Nano CPUs and CPU Quota cannot both be set');
  }
  if (nano < 0 || nano > facts.cpus * 1e9) {
    throw invalid(
      `Range of CPUs is from 0.01 to ${facts.cpus}.00, as there are only ${facts.cpus} CPUs available`,
    );
  }
  if (shares < 0) throw invalid(`invalid CPU shares (${shares}): value must be a positive integer`);
  if (period !== 0 && (period < 1000 || period > 1_000_000)) {
    throw invalid('CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)');
  }
  if (quota > 0 && quota < 1000) throw invalid('CPU cfs quota can not be less than 1ms (i.e. 1000)');
  validateCpuset(resources.CpusetCpus ?? '', facts.cpuset, 'cpuset cpus', 'CPUs');
  validateCpuset(resources.CpusetMems ?? '', facts.memoryNodes, 'cpuset mems', 'memory nodes');
}

function validateCpuset(wanted: string, available: string | undefined, field: string, things: string): void {
  if (wanted === '') return;
  const set = parseCpuset(wanted);
  if (!set) throw invalid(`Invalid value ${wanted} for ${field}`);
  const have = available === undefined ? undefined : parseCpuset(available);
  if (have && [...set].some((index) => !have.has(index))) {
    throw invalid(`Requested ${things} are not available - requested ${wanted}, available: ${available}`);
  }
}

/** The indices of a list such as `0-2,5`; undefined when it is not one. */
export function parseCpuset(text: string): Set<number> | undefined {
  const set = new Set<number>();
  for (const part of text.trim().split(',')) {
    const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(part.trim());
    if (!match) return undefined;
    const from = Number(match[1]);
    const to = Number(match[2] ?? match[1]);
    if (from > to || to > MAX_CPUSET_INDEX) return undefined;
    for (let index = from; index <= to; index += 1) set.add(index);
  }
  return set;
}

import { describe, expect, it } from 'vitest';

import type { ContainerConfig } from '../../src/containers/create-request.ts';
import type { HostConfig } from '../../src/containers/host-config.ts';
import { parseCpuset, validateConfig, validateHostConfig } from '../../src/containers/validate.ts';

const facts = { cpus: 2, cpuset: '0-1', memoryNodes: '0' };

describe('validateHostConfig', () => {
  it.each<[string, HostConfig]>([
    ['Minimum memory limit allowed is 6MB', { Memory: 4 * 1024 * 1024 }],
    [
      'Minimum memoryswap limit should be larger than memory limit, see usage',
      { Memory: 64 * 1024 * 1024, MemorySwap: 32 * 1024 * 1024 },
    ],
    [
      'You should always set the Memory limit when using Memoryswap limit, see usage',
      { MemorySwap: 64 * 1024 * 1024 },
    ],
    ['valid memory swappiness range is 0-100', { MemorySwappiness: 101 }],
    ['Minimum memory reservation allowed is 6MB', { MemoryReservation: 1 }],
    [
      'Minimum memory limit can not be less than memory reservation limit, see usage',
      { Memory: 8 * 1024 * 1024, MemoryReservation: 16 * 1024 * 1024 },
    ],
    ['Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available', { NanoCpus: 3e9 }],
    ['Conflicting options: Nano CPUs and CPU Period cannot both be set', { NanoCpus: 1e9, CpuPeriod: 1000 }],
    ['Conflicting options: Nano CPUs and CPU Quota cannot both be set', { NanoCpus: 1e9, CpuQuota: 1000 }],
    ['CPU cfs period can not be less than 1ms', { CpuPeriod: 10 }],
    ['CPU cfs quota can not be less than 1ms', { CpuQuota: 10 }],
    ['invalid CPU shares (-1)', { CpuShares: -1 }],
    ['Invalid value x for cpuset cpus', { CpusetCpus: 'x' }],
    ['Invalid value 0-4294967295 for cpuset cpus', { CpusetCpus: '0-4294967295' }],
    ['Requested CPUs are not available - requested 0-3, available: 0-1', { CpusetCpus: '0-3' }],
    ['Range of blkio weight is from 10 to 1000', { BlkioWeight: 5 }],
    ['Invalid value 1001, range for oom score adj is [-1000, 1000]', { OomScoreAdj: 1001 }],
    ['SHM size can not be less than 0', { ShmSize: -1 }],
    ['invalid CapAdd: unknown capability: "CAP_NOSUCH"', { CapAdd: ['nosuch'] }],
    [
      "can't create 'AutoRemove' container with restart policy",
      { AutoRemove: true, RestartPolicy: { Name: 'always' } },
    ],
    ["unknown policy 'sometimes'", { RestartPolicy: { Name: 'sometimes' } }],
    [
      "maximum retry count can only be used with 'on-failure'",
      { RestartPolicy: { Name: 'always', MaximumRetryCount: 2 } },
    ],
    ['bad format for add-host: "x"', { ExtraHosts: ['x'] }],
    ['invalid port specification: "99999/tcp"', { PortBindings: { '99999/tcp': [{}] } }],
    ['invalid port specification: "http"', { PortBindings: { '80/tcp': [{ HostPort: 'http' }] } }],
    ['invalid IPC mode: x', { IpcMode: 'x' }],
    ['invalid PID mode: x', { PidMode: 'x' }],
    ['invalid container format container:<name|id>', { NetworkMode: 'container:' }],
    [
      'sysctl "net.ipv4.ip_forward" not allowed in host network namespace',
      { NetworkMode: 'host', Sysctls: { 'net.ipv4.ip_forward': '1' } },
    ],
  ])('says "%s"', (message, host) => {
    expect(() => validateHostConfig(host, {}, facts)).toThrow(message);
  });

  it('accepts what the stock CLI sends for a plain run', () => {
    validateHostConfig(
      { Memory: 0, MemorySwap: 0, MemorySwappiness: -1, PidsLimit: 0, RestartPolicy: { Name: 'no' } },
      {},
      facts,
    );
    validateHostConfig({ Memory: 67_108_864, MemorySwap: -1, NanoCpus: 5e8, CpusetCpus: '0,1' }, {}, facts);
  });

  it('refuses a hostname where the network belongs to another container', () => {
    expect(() => validateHostConfig({ NetworkMode: 'container:x' }, { Hostname: 'h' }, facts)).toThrow(
      'conflicting options: hostname and the network mode',
    );
  });
});

describe('validateConfig', () => {
  it.each<[string, ContainerConfig]>([
    ['it needs to be an absolute path', { WorkingDir: 'rel' }],
    ['invalid signal: NOSUCH', { StopSignal: 'NOSUCH' }],
    ['invalid environment variable: =x', { Env: ['=x'] }],
    ['Interval in Healthcheck cannot be less than 1ms', { Healthcheck: { Interval: 1 } }],
  ])('says "%s"', (message, config) => {
    expect(() => validateConfig(config)).toThrow(message);
  });
});

describe('parseCpuset', () => {
  it('reads lists and ranges', () => {
    expect([...parseCpuset('0-2,5')!]).toEqual([0, 1, 2, 5]);
    expect(parseCpuset('2-1')).toBeUndefined();
    expect(parseCpuset('1,')).toBeUndefined();
  });
});

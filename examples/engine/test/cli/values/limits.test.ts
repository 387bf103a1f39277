import { describe, expect, it } from 'vitest';
import { UsageError } from '../../../src/cli/errors.ts';
import {
  normalizeCapabilities,
  parseDevice,
  parseExtraHost,
  parseGpus,
  parseNetwork,
  parseRestart,
  parseUlimit,
} from '../../../src/cli/values/limits.ts';

describe('--ulimit', () => {
  it('takes soft, and hard when it differs', () => {
    expect(parseUlimit('nofile=1024')).toEqual({ Name: 'nofile', Soft: 1024, Hard: 1024 });
    expect(parseUlimit('nofile=1:2')).toEqual({ Name: 'nofile', Soft: 1, Hard: 2 });
    expect(parseUlimit('core=-1')).toEqual({ Name: 'core', Soft: -1, Hard: -1 });
    expect(parseUlimit('core=5:-1')).toEqual({ Name: 'core', Soft: 5, Hard: -1 });
  });

  it.for(['nofile', 'nofile=', 'nofile=2:1', 'nofile=-1:5', 'nofile=1:2:3', 'foo=1'])(
    'refuses %s',
    (text) => {
      expect(() => parseUlimit(text)).toThrow(UsageError);
    },
  );
});

it.for([
  ['/dev/a', '/dev/a', 'rwm'],
  ['/dev/a:/dev/b', '/dev/b', 'rwm'],
  ['/dev/a:/dev/b:r', '/dev/b', 'r'],
  ['/dev/a:rw', '/dev/a', 'rw'],
] as const)('--device %s', ([text, path, permissions]) => {
  expect(parseDevice(text)).toEqual({
    PathOnHost: '/dev/a',
    PathInContainer: path,
    CgroupPermissions: permissions,
  });
});

it('reads restart policies with and without a count', () => {
  expect(parseRestart('always')).toEqual({ Name: 'always', MaximumRetryCount: 0 });
  expect(parseRestart('on-failure:3')).toEqual({ Name: 'on-failure', MaximumRetryCount: 3 });
  expect(() => parseRestart('on-failure:x')).toThrow(UsageError);
  expect(() => parseRestart(':3')).toThrow(UsageError);
});

it('reads extra hosts with every kind of address', () => {
  expect(parseExtraHost('a:1.2.3.4')).toBe('a:1.2.3.4');
  expect(parseExtraHost('a=::1')).toBe('a:::1');
  expect(parseExtraHost('a:[::1]')).toBe('a:::1');
  expect(parseExtraHost('a:host-gateway')).toBe('a:host-gateway');
  for (const text of ['a', 'a:', 'a:b', ':1.2.3.4']) expect(() => parseExtraHost(text)).toThrow(UsageError);
});

it('reads networks in short and long form', () => {
  expect(parseNetwork('bridge')).toMatchObject({ Target: 'bridge', Aliases: [] });
  expect(parseNetwork('container:x')).toMatchObject({ Target: 'container:x' });
  expect(parseNetwork('name=n,alias=a,alias=b,ip=1.2.3.4,driver-opt=k=v,gw-priority=-1')).toMatchObject({
    Target: 'n',
    Aliases: ['a', 'b'],
    IPv4Address: '1.2.3.4',
    DriverOpts: { k: 'v' },
    GwPriority: -1,
  });
  for (const text of ['alias=x', 'name=n,foo=1', 'name=n,alias'])
    expect(() => parseNetwork(text)).toThrow(UsageError);
});

it('normalises capabilities to sorted names with their prefix, each once', () => {
  expect(normalizeCapabilities(['net_admin', 'CAP_CHOWN', 'chown', 'all'])).toEqual([
    'ALL',
    'CAP_CHOWN',
    'CAP_NET_ADMIN',
  ]);
});

it('reads GPU requests', () => {
  expect(parseGpus('all')).toMatchObject({ Count: -1, Capabilities: [['gpu']] });
  expect(parseGpus('2')).toMatchObject({ Count: 2 });
  expect(parseGpus('"device=0,1",capabilities=utility')).toMatchObject({
    Count: 0,
    DeviceIDs: ['0', '1'],
    Capabilities: [['utility', 'gpu']],
  });
  expect(() => parseGpus('x')).toThrow(UsageError);
});

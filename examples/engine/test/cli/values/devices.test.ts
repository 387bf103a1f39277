import { expect, it } from 'vitest';
import { UsageError } from '../../../src/cli/errors.ts';
import { parseDevice, parseGpus } from '../../../src/cli/values/devices.ts';

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

import { expect, it } from 'vitest';
import { UsageError } from '../../../src/cli/errors.ts';
import { parseExtraHost, parseNetwork } from '../../../src/cli/values/networks.ts';

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

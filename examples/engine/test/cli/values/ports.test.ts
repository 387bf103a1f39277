import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { UsageError } from '../../../src/cli/errors.ts';
import { parseExpose, parsePublish } from '../../../src/cli/values/ports.ts';

/** `port ip host` of every entry. */
function shown(text: string): string[] {
  return parsePublish(text).map(
    ({ port, binding }) => `${port} ${binding.HostIp || '-'} ${binding.HostPort || '-'}`,
  );
}

describe('--publish', () => {
  it.for([
    ['80', ['80/tcp - -']],
    ['8080:80', ['80/tcp - 8080']],
    ['127.0.0.1:8080:80/udp', ['80/udp 127.0.0.1 8080']],
    ['127.0.0.1::80', ['80/tcp 127.0.0.1 -']],
    ['[::1]:8080:80', ['80/tcp ::1 8080']],
    ['::1:8080:80', ['80/tcp ::1 8080']],
    ['9000-9001:80-81/sctp', ['80/sctp - 9000', '81/sctp - 9001']],
    ['9000-9010:80', ['80/tcp - 9000-9010']],
    ['80-81', ['80/tcp - -', '81/tcp - -']],
    ['80/UDP', ['80/udp - -']],
    ['target=80,published=8080,protocol=udp', ['80/udp - 8080']],
    ['target=80', ['80/tcp - -']],
  ] as const)('reads %s', ([text, entries]) => {
    expect(shown(text)).toEqual(entries);
  });

  it.for([
    '',
    ':',
    'a',
    '80:b',
    '70000',
    '2-1',
    '80-82:1-2',
    '1.2.3:1:2',
    'x:1:2',
    '80/foo',
    'target',
    '80:80:80:80',
  ])('refuses %s', (text) => {
    expect(() => parsePublish(text)).toThrow(UsageError);
  });

  it('gives every port of a range its own host port', () => {
    const port = fc.integer({ min: 0, max: 60_000 });
    fc.assert(
      fc.property(
        port,
        port,
        fc.integer({ min: 0, max: 50 }),
        fc.constantFrom('tcp', 'udp', 'sctp'),
        (host, container, count, protocol) => {
          const text = `${host}-${host + count}:${container}-${container + count}/${protocol}`;
          const expected = Array.from(
            { length: count + 1 },
            (_, at) => `${container + at}/${protocol} - ${host + at}`,
          );
          // A range of one is a plain port.
          expect(shown(text)).toEqual(expected);
        },
      ),
    );
  });
});

describe('--expose', () => {
  it('reads ports and ranges with a protocol', () => {
    expect(parseExpose('80')).toEqual(['80/tcp']);
    expect(parseExpose('80-81/udp')).toEqual(['80/udp', '81/udp']);
  });

  it.for(['', '80:80', 'a', '2-1', '99999'])('refuses %s', (text) => {
    expect(() => parseExpose(text)).toThrow(UsageError);
  });
});

import { execFileSync } from 'node:child_process';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { encodeTarHeader, TAR_END, tarEntry, tarPadding, type TarEntry } from '../../src/index.ts';
import { TarBuilder } from '../../src/testing/index.ts';
import { collect } from './collect.ts';

/** Bytes without NUL, one character each. */
const byteName = (maxLength: number): fc.Arbitrary<string> =>
  fc
    .array(fc.integer({ min: 1, max: 255 }), { minLength: 1, maxLength })
    .map((bytes) => Buffer.from(bytes).toString('latin1'));

const entries: fc.Arbitrary<TarEntry> = fc.record({
  name: byteName(300),
  type: fc.constantFrom(
    'file',
    'directory',
    'symlink',
    'hardlink',
    'fifo',
    'character-device',
    'block-device',
  ),
  mode: fc.integer({ min: 0, max: 0o7777 }),
  uid: fc.integer({ min: 0, max: 0xfffffffe }),
  gid: fc.integer({ min: 0, max: 0xfffffffe }),
  size: fc.constant(0),
  mtimeNs: fc.bigInt({ min: -(2n ** 62n), max: 2n ** 62n }),
  atimeNs: fc.option(fc.bigInt({ min: 0n, max: 2n ** 62n }), { nil: undefined }),
  linkName: byteName(300),
  devMajor: fc.integer({ min: 0, max: 0xfff }),
  devMinor: fc.integer({ min: 0, max: 0xfffff }),
  xattrs: fc
    .array(fc.tuple(fc.stringMatching(/^user\.[a-zA-Z]{1,20}$/), fc.uint8Array({ maxLength: 100 })), {
      maxLength: 3,
    })
    .map((pairs) => new Map(pairs)),
});

test('what is written is read back, byte for byte', () => {
  fc.assert(
    fc.property(entries, fc.uint8Array({ maxLength: 2000 }), (entry, content) => {
      const isLink = entry.type === 'symlink' || entry.type === 'hardlink';
      const isDevice = entry.type === 'character-device' || entry.type === 'block-device';
      const bytes = entry.type === 'file' ? content : new Uint8Array();
      const written: TarEntry = {
        ...entry,
        size: bytes.length,
        linkName: isLink ? entry.linkName : '',
        devMajor: isDevice ? entry.devMajor : 0,
        devMinor: isDevice ? entry.devMinor : 0,
      };
      const archive = Buffer.concat([encodeTarHeader(written), bytes, tarPadding(bytes.length), TAR_END]);
      const [read] = collect(archive);
      expect({
        ...read,
        content: undefined,
        xattrs: [...read!.xattrs].map(([k, v]) => [k, Uint8Array.from(v)]).sort(),
      }).toEqual({
        ...written,
        content: undefined,
        xattrs: [...written.xattrs].map(([k, v]) => [k, Uint8Array.from(v)]).sort(),
      });
      expect(read!.content).toEqual(Buffer.from(bytes));
    }),
  );
});

test('any damage to an archive is either refused or read, and never breaks the reader', () => {
  const archive = new TarBuilder()
    .directory('a/')
    .file(`a/${'long'.repeat(60)}`, Buffer.alloc(700, 1), { xattrs: new Map([['user.x', Buffer.from('y')]]) })
    .symlink('b', 'a')
    .build();
  fc.assert(
    fc.property(
      fc.nat(archive.length - 1),
      fc.nat(255),
      fc.integer({ min: 1, max: 3000 }),
      (at, value, chunk) => {
        const damaged = Buffer.from(archive);
        damaged[at] = value;
        try {
          collect(damaged, chunk);
        } catch (error) {
          expect(['INVALID_TAR', 'LIMIT_EXCEEDED', 'INVALID_ARGUMENT']).toContain(
            (error as { code: string }).code,
          );
        }
      },
    ),
    { numRuns: 500 },
  );
});

test('GNU tar lists what we write', () => {
  const long = `${'d/'.repeat(80)}file`;
  const archive = new TarBuilder()
    .directory('dir/', { mode: 0o1777, uid: 5, gid: 6 })
    .file('dir/ünï', 'abc', { mtimeNs: 1_500_000_000_123_456_789n })
    .file(long, '')
    .symlink('dir/link', 'ünï')
    .hardlink('dir/hard', 'dir/ünï')
    .entry('character-device', 'dir/null', { devMajor: 1, devMinor: 3, mode: 0o666 })
    .build();
  const listing = execFileSync(
    'tar',
    ['--numeric-owner', '--quoting-style=literal', '--full-time', '-tvf', '-'],
    {
      input: archive,
      env: { ...process.env, TZ: 'UTC', LC_ALL: 'C.UTF-8' },
      encoding: 'utf8',
    },
  );
  const lines = listing
    .trimEnd()
    .split('\n')
    .map((line) => line.replaceAll(/ +/g, ' '));
  expect(lines).toEqual([
    'drwxrwxrwt 5/6 0 1970-01-01 00:00:00 dir/',
    '-rw-r--r-- 0/0 3 2017-07-14 02:40:00.123456789 dir/ünï',
    `-rw-r--r-- 0/0 0 1970-01-01 00:00:00 ${long}`,
    'lrwxrwxrwx 0/0 0 1970-01-01 00:00:00 dir/link -> ünï',
    'hrw-r--r-- 0/0 0 1970-01-01 00:00:00 dir/hard link to dir/ünï',
    'crw-rw-rw- 0/0 1,3 1970-01-01 00:00:00 dir/null',
  ]);
});

test('the same entry gives the same bytes, and a plain one a single header block', () => {
  const entry = tarEntry('file', 'plain', { mtimeNs: 1_000_000_000n });
  expect(encodeTarHeader(entry)).toHaveLength(512);
  expect(encodeTarHeader(entry)).toEqual(encodeTarHeader({ ...entry }));
});

test('refuses a name with a NUL', () => {
  expect(() => encodeTarHeader(tarEntry('file', 'a\0b'))).toThrow(
    expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
  );
});

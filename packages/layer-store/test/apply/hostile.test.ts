/** What no archive may do: every case looks at a directory beside the root afterwards. */
import { spawn } from 'node:child_process';
import { once as onceEvent } from 'node:events';
import { lstatSync, readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { applyLayer, encodeTarHeader, tarEntry, TAR_END, type ApplyOptions } from '../../src/index.ts';
import { TarBuilder } from '../../src/testing/index.ts';
import { isRoot, native, needsRoot, Place, plain, singly } from './unpack.ts';

const UP = '../'.repeat(20);

/** Name, members, and the code it is refused with; undefined when it is harmless once confined. */
type Case = [string, (tar: TarBuilder, victim: string) => TarBuilder, string | undefined];

const cases: Case[] = [
  ['a name that goes up', (t) => t.file('../victim/new'), 'UNSAFE_ENTRY'],
  ['an absolute name that goes up', (t) => t.file('/../victim/new'), 'UNSAFE_ENTRY'],
  ['a name that goes up after going down', (t) => t.file('a/../../victim/new'), 'UNSAFE_ENTRY'],
  ['the name ..', (t) => t.directory('..', { mode: 0o777 }), 'UNSAFE_ENTRY'],
  ['an absolute name', (t, victim) => t.file(`${victim}/new`), undefined],
  ['a file through a relative link', (t) => t.symlink('a', '../victim').file('a/new'), undefined],
  ['a file through an absolute link', (t, victim) => t.symlink('a', victim).file('a/new'), undefined],
  ['a file through a link far up', (t, victim) => t.symlink('a', UP + victim).file('a/new'), undefined],
  [
    'a file through a chain of links',
    (t, victim) =>
      t.symlink('a', 'b/c').directory('b').symlink('b/c', '/d').symlink('d', victim).file('a/new'),
    undefined,
  ],
  [
    'a file through a link to the root',
    (t, victim) => t.symlink('a', '/').file(`a/${victim}/new`),
    undefined,
  ],
  ['a directory through a link', (t, victim) => t.symlink('a', victim).directory('a/new'), undefined],
  [
    'a file over a link',
    (t, victim) => t.symlink('a', `${victim}/secret`).file('a', 'overwritten'),
    undefined,
  ],
  [
    'a file over a hard link of a link',
    (t, victim) => t.symlink('a', `${victim}/secret`).hardlink('b', 'a').file('b', 'overwritten'),
    undefined,
  ],
  [
    'the mode of a directory over a link',
    (t, victim) => t.symlink('a', victim).directory('a', { mode: 0o777 }),
    undefined,
  ],
  [
    'a directory that becomes a link before its mode is set',
    (t, victim) => t.directory('a', { mode: 0o777 }).symlink('a', victim),
    undefined,
  ],
  [
    'a parent that becomes a link in the middle',
    (t, victim) => t.directory('a').file('a/one').symlink('a', victim).file('a/two'),
    undefined,
  ],
  [
    'a grandparent that becomes a link in the middle',
    (t, victim) =>
      t
        .directory('a')
        .directory('a/b', { mode: 0o777 })
        .file('a/b/c')
        .symlink('a', `${victim}/..`)
        .file('a/victim/x'),
    undefined,
  ],
  ['a hard link to a name that goes up', (t) => t.hardlink('a', '../victim/secret'), 'UNSAFE_ENTRY'],
  ['a hard link to an absolute name', (t, victim) => t.hardlink('a', `${victim}/secret`), 'INVALID_TAR'],
  [
    'a hard link through a link',
    (t, victim) => t.symlink('a', victim).hardlink('b', 'a/secret').file('b', 'overwritten'),
    'INVALID_TAR',
  ],
  [
    'a hard link to a link, whose mode it sets',
    (t, victim) => t.symlink('a', `${victim}/secret`).hardlink('b', 'a', { mode: 0o777, uid: 7 }),
    undefined,
  ],
  ['a hard link to the root', (t) => t.hardlink('a', '.'), 'UNSAFE_ENTRY'],
  ['a hard link to a directory', (t) => t.directory('d').hardlink('a', 'd'), 'INVALID_TAR'],
  ['a hard link to nothing', (t) => t.hardlink('a', 'nothing/there'), 'INVALID_TAR'],
  ['a root that is a link', (t, victim) => t.symlink('./', victim).file('new'), 'UNSAFE_ENTRY'],
  ['a root that is a file', (t) => t.file('.', 'x'), 'UNSAFE_ENTRY'],
  ['a root that is a hard link', (t) => t.file('f').hardlink('/', 'f'), 'UNSAFE_ENTRY'],
  ['a whiteout through a link', (t, victim) => t.symlink('a', victim).file('a/.wh.secret'), undefined],
  ['an opaque mark through a link', (t, victim) => t.symlink('a', victim).file('a/.wh..wh..opq'), undefined],
  ['a whiteout that goes up', (t) => t.file('../victim/.wh.secret'), 'UNSAFE_ENTRY'],
  ['a whiteout of nothing', (t) => t.file('a/.wh.'), 'UNSAFE_ENTRY'],
  ['a whiteout of .', (t) => t.file('a/.wh..'), 'UNSAFE_ENTRY'],
  ['a whiteout of ..', (t) => t.file('.wh...'), 'UNSAFE_ENTRY'],
  ['something inside a whiteout', (t) => t.file('.wh.a/b'), 'UNSAFE_ENTRY'],
  [
    'links that go round in a circle',
    (t) => t.symlink('a', 'b').symlink('b', 'a').file('a/x'),
    'INVALID_TAR',
  ],
  ['a file inside a file', (t) => t.file('a').file('a/b'), 'INVALID_TAR'],
  [
    'a device with a number that would become another',
    (t) => t.entry('character-device', 'a', { devMajor: 0x1001, devMinor: 3 }),
    'INVALID_TAR',
  ],
  [
    'a disk with a number that would become another',
    (t) => t.entry('block-device', 'a', { devMajor: 8, devMinor: 0x100001 }),
    'INVALID_TAR',
  ],
  ['a link to itself', (t) => t.file('a', 'kept').hardlink('a', 'a'), undefined],
];

const modes: [string, ApplyOptions][] = [['with node:fs', plain]];
if (isRoot) modes.push(['with native calls', native], ['with native calls, one by one', { fs: singly }]);
if (!isRoot) process.stderr.write(`hostile archives with native calls are skipped: ${needsRoot}\n`);

describe.each(modes)('%s', (_, options) => {
  test.each(cases)('%s stays inside', async (_, build, code) => {
    using place = new Place();
    const archive = build(new TarBuilder(), place.victim).build();
    const outcome = await place.unpack(archive, options).then(
      () => undefined,
      (error: unknown) => (error as { code: string }).code,
    );
    place.checkVictim();
    expect(outcome).toBe(code);
  });

  test('a file through a link to an absolute path lands below the root', async () => {
    using place = new Place();
    await place.unpack(new TarBuilder().symlink('a', '/x/y').file('a/f', 'in').build(), options);
    expect(readFileSync(place.path('x/y/f'), 'utf8')).toBe('in');
    expect(readlinkSync(place.path('a'))).toBe('/x/y');
  });

  test('a link to itself keeps the file', async () => {
    using place = new Place();
    await place.unpack(new TarBuilder().file('a', 'kept').hardlink('./a', 'a').build(), options);
    expect(readFileSync(place.path('a'), 'utf8')).toBe('kept');
  });

  test('the last of several members of one name wins, whatever they are', async () => {
    using place = new Place();
    const archive = new TarBuilder()
      .directory('a')
      .file('a/inner')
      .file('a', 'file')
      .symlink('a', 'b')
      .directory('a', { mode: 0o711 })
      .symlink('b', 'x')
      .file('b', 'last')
      .directory('c', { mode: 0o700 })
      .file('c/d/e')
      .file('c')
      .build();
    await place.unpack(archive, options);
    expect(readdirSync(place.root).sort()).toEqual(['a', 'b', 'c']);
    expect(readdirSync(place.path('a'))).toEqual([]);
    expect(lstatSync(place.path('a')).mode & 0o777).toBe(0o711);
    expect(readFileSync(place.path('b'), 'utf8')).toBe('last');
    expect(lstatSync(place.path('c')).isFile()).toBe(true);
  });

  test('a second process that swaps a directory for a link cannot lead it out', async () => {
    using place = new Place();
    const tar = new TarBuilder().directory('d');
    for (let i = 0; i < 1500; i++) tar.file(`d/${i}/f`, 'x').symlink(`d/${i}/l`, 'f');
    const racer = spawn(
      process.execPath,
      [
        '-e',
        `const fs = require('fs'); const [root, victim] = process.argv.slice(1);
         const attempt = (f) => { try { f() } catch {} };
         console.log('racing');
         for (;;) {
           attempt(() => fs.renameSync(root + '/d', root + '/e'));
           attempt(() => fs.symlinkSync(victim, root + '/d'));
           attempt(() => fs.unlinkSync(root + '/d'));
           attempt(() => fs.renameSync(root + '/e', root + '/d'));
         }`,
        place.root,
        place.victim,
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    try {
      await onceEvent(racer.stdout, 'data');
      // whether it succeeds does not matter
      await applyLayer(
        (async function* () {
          yield tar.build();
        })(),
        place.root,
        { ...options, whiteouts: 'remove' },
      ).catch(() => undefined);
    } finally {
      racer.kill('SIGKILL');
      await onceEvent(racer, 'exit');
    }
    place.checkVictim();
  });

  test.each([
    ['members', { maxEntries: 10 }, Array.from({ length: 11 }, (_, i) => `f${i}`)],
    ['bytes', { maxBytes: 10 }, ['f', 'g']],
  ])('stops at too many %s', async (_, limits, names) => {
    using place = new Place();
    const tar = new TarBuilder();
    for (const name of names) tar.file(name, '123456');
    await expect(place.unpack(tar.build(), { ...options, ...limits })).rejects.toMatchObject({
      code: 'LIMIT_EXCEEDED',
    });
  });

  test('a sparse file of an exabyte is refused before it exists', async () => {
    using place = new Place();
    const header = encodeTarHeader(tarEntry('file', 'huge', { size: 2 ** 50 }));
    await expect(place.unpack(Buffer.concat([header, TAR_END]), options)).rejects.toMatchObject({
      code: 'LIMIT_EXCEEDED',
    });
    expect(readdirSync(place.root)).toEqual([]);
  });
});

test('a decompression bomb is stopped by its ratio', async () => {
  using place = new Place();
  const megabytes = 100;
  const zeros = Buffer.alloc(1024 * 1024);
  // content that is thrown away, to spare the disk; compressed once, repeated as frames
  const head = encodeTarHeader(tarEntry('file', '.wh..wh.zeros', { size: megabytes * zeros.length }));
  const frame = zstdCompressSync(zeros);
  async function* bomb(): AsyncGenerator<Uint8Array> {
    yield zstdCompressSync(head);
    for (let i = 0; i < megabytes; i++) yield frame;
  }
  await expect(
    applyLayer(bomb(), place.root, { ...plain, maxRatioAfterBytes: 64 * 1024 ** 2 }),
  ).rejects.toMatchObject({
    code: 'LIMIT_EXCEEDED',
    message: expect.stringContaining('bomb'),
  });
});

test('damaged compression is an invalid layer', async () => {
  using place = new Place();
  const archive = gzipSync(new TarBuilder().file('a', Buffer.alloc(100_000, 'x')).build());
  await expect(place.unpack(archive.subarray(0, -20), plain)).rejects.toMatchObject({ code: 'INVALID_TAR' });
});

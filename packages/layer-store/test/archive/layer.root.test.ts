/** Layers made of snapshots: what was written comes back exactly, on another store. Needs root. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chainIds } from '@tare/image-spec';
import { layerFs } from '@tare/runtime-native/syscalls';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openLayerStore, type Compression, type LayerFs } from '../../src/index.ts';
import { isRoot, needsRoot, singly } from '../apply/unpack.ts';
import { runMounted } from '../mounted.ts';

let base: string;
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'tare-layer-'));
});
afterEach(() => rmSync(base, { recursive: true, force: true }));

const open = (name: string, fs: LayerFs = layerFs) => openLayerStore({ root: join(base, name), fs });

/** A command that runs a program with `layerFs` at hand: extended attributes need no further tool. */
function program(source: string): string {
  const syscalls = new URL('../../../runtime-native/src/syscalls.ts', import.meta.url).href;
  const whole = `import { AT_FDCWD, layerFs } from '${syscalls}';${source}`.replaceAll('"', '\\\\"');
  return `${process.execPath} --conditions=@tare/source --input-type=module -e "${whole}"`;
}

/** Everything that a layer can hold. */
const BASE = `
  mkdir -p usr/bin etc/old var/cache/deep opt
  echo tool > usr/bin/tool; chmod 4755 usr/bin/tool
  echo a > etc/old/a; echo b > etc/old/b; echo c > var/cache/deep/c
  ln -s ../usr/bin/tool opt/link`;
const CHANGE = `
  umask 022
  rm -r etc/old; mkdir etc/old; echo new > etc/old/new
  rm var/cache/deep/c; chmod 700 var/cache; chown 7:8 var/cache
  mknod opt/null c 1 3; mknod opt/loop b 7 259; mkfifo opt/fifo
  echo data > opt/file; ln opt/file opt/hard; ln opt/file usr/other
  ln -s /absolute/nowhere opt/broken; ln -sfn elsewhere opt/link
  printf x > "$(printf 'opt/caf\\351')"; printf x > 'opt/new
line'
  long=opt/$(printf '%0120d' 0)/$(printf '%0200d' 1); mkdir -p $long; echo long > $long/file
  truncate -s 100000 opt/sparse; printf end >> opt/sparse
  head -c 3000000 /dev/urandom > opt/large
  ${program(`
    const set = (file, name, value) => layerFs.setxattrat(AT_FDCWD, file, name, value);
    set('usr/bin/tool', 'security.capability', Buffer.from('0100000200040000000000000000000000000000', 'hex'));
    set('opt/fifo', 'trusted.note', Buffer.from([0, 255, 10]));
    set('var/cache', 'trusted.empty', Buffer.alloc(0));`)}
  chown 100000:3000000 opt/file; chmod 1777 opt
  touch -d '2001-02-03 04:05:06.123456789 UTC' opt/file opt/hard
  touch -d '1960-01-01 UTC' opt/sparse; touch -h -d '2002-01-01 UTC' opt/broken
  find . -newermt 2003-01-01 ! -type l -exec touch -d '2020-01-01 UTC' {} +
  touch -h -d '2020-01-01 UTC' opt/link .`;
/** Types, modes, owners, sizes, times, link counts, targets, attributes and content. */
const LOOK = `
  find . ! -path . -printf '%p|%y|%m|%U:%G|%T@|%l|%n' \\( -type f -printf '|%s' -o -printf '' \\) -printf '\\n' | LC_ALL=C sort
  find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
  find . \\( -type b -o -type c \\) -exec stat -c '%n %t:%T' {} + | sort
  ${program(`
    for (const file of ['usr/bin/tool', 'opt/fifo', 'var/cache', 'etc/old']) {
      for (const name of layerFs.listxattrat(AT_FDCWD, file).sort()) {
        if (!name.includes('overlay')) console.log(file, name, layerFs.getxattrat(AT_FDCWD, file, name));
      }
    }`)}`;

describe.skipIf(!isRoot)(`layers of snapshots${isRoot ? '' : ` (skipped: ${needsRoot})`}`, () => {
  test.each<Compression>(['gzip', 'zstd', 'none'])(
    'a %s layer shows on another store what its snapshot showed',
    async (compression) => {
      await using here = await open('here');
      await runMounted(await here.snapshots.prepare('base', undefined), BASE);
      const first = await here.createLayer('base', { compression });
      const [one] = await chainIds([first.diffId]);
      await here.snapshots.commit(one!, 'base');
      await runMounted(await here.snapshots.prepare('change', one), CHANGE);
      const expected = await runMounted(await here.snapshots.mounts('change'), LOOK);
      const second = await here.createLayer('change', { compression });
      expect(second.archiveBytes).toBeGreaterThan(3_000_000);
      expect(expected).toContain('opt/fifo trusted.note');
      expect(expected).toContain('security.capability');

      await using there = await open('there', singly);
      for (const { descriptor } of [first, second]) {
        await there.content.push(descriptor, await here.content.fetch(descriptor));
      }
      const top = await there.unpack([first, second]);
      expect(top).toBe((await chainIds([first.diffId, second.diffId]))[1]);
      expect(await runMounted(await there.snapshots.view('look', top), LOOK)).toBe(expected);

      // the same snapshot is the same layer, here and there
      expect((await here.createLayer('change', { compression })).diffId).toBe(second.diffId);
      expect((await there.createLayer(top, { compression })).diffId).toBe(second.diffId);
    },
  );

  test.each<Compression>(['gzip', 'none'])(
    'a %s layer that is committed is what unpacking it gives, and the snapshot goes on without it',
    async (compression) => {
      await using here = await open('here');
      await runMounted(await here.snapshots.prepare('base', undefined), BASE);
      const first = await here.commitLayer('base', { compression });
      expect(first.chainId).toBe(first.diffId);
      const change = await here.snapshots.prepare('change', first.chainId);
      await runMounted(change, CHANGE);
      const expected = await runMounted(change, LOOK);
      const created = await here.createLayer('change', { compression });
      const { chainId, ...second } = await here.commitLayer('change', { compression });
      expect(second).toEqual(created);

      await using there = await open('there');
      for (const { descriptor } of [first, second]) {
        await there.content.push(descriptor, await here.content.fetch(descriptor));
      }
      expect(await there.unpack([first, second])).toBe(chainId);
      expect(await here.snapshots.stat(chainId)).toMatchObject({ kind: 'committed', parent: first.chainId });
      expect(await here.snapshots.usage(chainId)).toEqual(await there.snapshots.usage(chainId));
      // again, it is there already
      expect((await here.commitLayer('change', { compression })).chainId).toBe(chainId);

      await runMounted(change, 'echo other > opt/file; rm -r usr');
      expect(await runMounted(await here.snapshots.view('look', chainId), LOOK)).toBe(expected);
      expect((await here.createLayer(chainId, { compression })).diffId).toBe(second.diffId);
    },
  );

  test('small files of every kind are the same layer, read and made in one call or in several', async () => {
    const files = `
      mkdir d; i=0
      for size in 0 1 511 512 513 65535 65536 65537 200000; do
        head -c $size /dev/urandom > d/$size; chown $((i * 7)):$((i * 70000)) d/$size; touch -d "@$((i * 100000000)).00000000$i" d/$size; i=$((i + 1))
      done
      chmod 6755 d/512; chmod 0 d/513; touch -d '1901-01-01 UTC' d/1; ln d/511 d/other; ln -s 511 d/link; mkfifo d/fifo
      ${program(`layerFs.setxattrat(AT_FDCWD, 'd/65535', 'user.note', Buffer.from('x'));`)}`;
    const blobs: string[] = [];
    await using here = await open('here');
    const [mount] = await here.snapshots.prepare('base', undefined);
    await runMounted([mount!], files);
    const { chainId, descriptor } = await here.commitLayer('base', { compression: 'none' });
    blobs.push(descriptor.digest, (await here.createLayer(chainId, { compression: 'none' })).diffId);
    await here[Symbol.asyncDispose]();
    await using slowly = await open('here', singly);
    for (const key of ['base', chainId])
      blobs.push((await slowly.createLayer(key, { compression: 'none' })).diffId);
    blobs.push((await slowly.commitLayer('base', { compression: 'none' })).diffId);
    await using there = await open('there', singly);
    await there.content.push(descriptor, await slowly.content.fetch(descriptor));
    await there.unpack([{ descriptor, diffId: descriptor.digest }]);
    blobs.push((await there.createLayer(chainId, { compression: 'none' })).diffId);
    expect(new Set(blobs)).toEqual(new Set([descriptor.digest]));
  });

  test('an archive that is committed is a layer on its parent, and a broken one nothing', async () => {
    await using here = await open('here');
    await runMounted(await here.snapshots.prepare('base', undefined), BASE);
    const { chainId: parent } = await here.commitLayer('base', { compression: 'none' });
    const change = await here.snapshots.prepare('change', parent);
    await runMounted(change, CHANGE);
    const expected = await runMounted(change, LOOK);
    const archive = Buffer.concat(await Array.fromAsync(here.snapshots.diff('change')));
    async function* pieces(end = archive.length): AsyncGenerator<Uint8Array> {
      for (let at = 0; at < end; at += 100_000) yield archive.subarray(at, Math.min(at + 100_000, end));
    }
    const cut = here.commitArchive(pieces(archive.length - 5000), parent, { compression: 'none' });
    await expect(cut).rejects.toMatchObject({ code: 'INVALID_TAR' });
    expect(readdirSync(join(base, 'here/snapshots/t'))).toEqual([]);
    const { chainId, ...layer } = await here.commitArchive(pieces(), parent, { compression: 'none' });
    expect(layer).toEqual(await here.createLayer('change', { compression: 'none' }));
    expect(await here.snapshots.stat(chainId)).toMatchObject({ kind: 'committed', parent });
    expect(await runMounted(await here.snapshots.view('look', chainId), LOOK)).toBe(expected);
    // the same when whoever makes the archive says what is in it
    await here.snapshots.remove('look');
    await here.snapshots.remove(chainId);
    const again = await here.commitArchive((members) => here.snapshots.diffTo!('change', members), parent, {
      compression: 'none',
    });
    expect(again).toEqual({ chainId, ...layer });
    expect(await runMounted(await here.snapshots.view('look', chainId), LOOK)).toBe(expected);
  });

  test('a layer that is committed and unpacked at once is made once', async () => {
    await using store = await open('store');
    await runMounted(await store.snapshots.prepare('base', undefined), BASE);
    const layer = await store.createLayer('base');
    const [{ chainId }, , top] = await Promise.all([
      store.commitLayer('base'),
      store.commitLayer('base', { compression: 'none' }),
      store.unpack([layer]),
    ]);
    expect(chainId).toBe(top);
    expect((await Array.fromAsync(store.snapshots.list())).map(({ name }) => name).sort()).toEqual(
      ['base', chainId].sort(),
    );
  });

  test('an empty layer that is committed makes no snapshot, an aborted or unknown one nothing', async () => {
    await using store = await open('store');
    const [mount] = await store.snapshots.prepare('base', undefined);
    await store.commitLayer('base', { compression: 'none' });
    writeFileSync(join(mount!.source, 'large'), Buffer.alloc(8_000_000));
    for (const compression of ['gzip', 'none'] as const) {
      const abort = new AbortController();
      const layer = store.commitLayer('base', { compression, signal: abort.signal });
      abort.abort(new Error('enough'));
      await expect(layer).rejects.toThrow('enough');
    }
    await expect(store.commitLayer('nobody')).rejects.toMatchObject({ code: 'NOT_FOUND' });
    expect((await Array.fromAsync(store.snapshots.list())).map(({ name }) => name)).toEqual(['base']);
    expect(readdirSync(join(base, 'store/snapshots/t'))).toEqual([]);
  });

  test('GNU tar reads the archive and finds every name once', async () => {
    await using store = await open('store');
    await runMounted(await store.snapshots.prepare('base', undefined), BASE);
    const archive = Buffer.concat(await Array.fromAsync(store.snapshots.diff('base')));
    const listed = execFileSync('tar', ['-tf', '-'], { input: archive, encoding: 'utf8' }).trim().split('\n');
    expect(new Set(listed).size).toBe(listed.length);
    expect(listed).toContain('usr/bin/tool');
    const diffId = `sha256:${createHash('sha256').update(archive).digest('hex')}`;
    expect((await store.createLayer('base')).diffId).toBe(diffId);
  });

  test('a changed root is part of the layer', async () => {
    await using store = await open('store');
    await runMounted(
      await store.snapshots.prepare('base', undefined),
      'chmod 1750 .; chown 5:6 .; echo x > file',
    );
    const layer = await store.createLayer('base');
    const top = await store.unpack([layer]);
    expect(await runMounted(await store.snapshots.view('look', top), 'stat -c %a:%u:%g .; ls')).toBe(
      '1750:5:6\nfile\n',
    );
  });

  test('a file whose name would be a whiteout is refused by name, and nothing is stored', async () => {
    await using store = await open('store');
    await runMounted(await store.snapshots.prepare('base', undefined), 'mkdir dir; echo x > dir/.wh.passwd');
    await expect(store.createLayer('base')).rejects.toMatchObject({
      code: 'UNSAFE_ENTRY',
      message: expect.stringContaining('dir/.wh.passwd'),
    });
    expect(await Array.fromAsync(store.content.list())).toEqual([]);
  });

  test('an attribute whose name no archive can hold is refused, not changed', async () => {
    await using store = await open('store');
    const attribute = program(`layerFs.setxattrat(AT_FDCWD, 'file', 'trusted.a=b', Buffer.from('c'));`);
    await runMounted(await store.snapshots.prepare('base', undefined), `echo x > file; ${attribute}`);
    await expect(store.createLayer('base')).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining('trusted.a=b'),
    });
  });

  test('of a tree with mounts in it, one file system gives empty mount points', async () => {
    const names = await runMounted(
      [{ type: 'tmpfs', source: 'tmpfs', options: ['mode=755'] }],
      `mkdir dir other; echo x > file; mount -t tmpfs tmpfs dir; echo inside > dir/secret
       echo y > other/y; mount --bind other/y file
       ${program(`
         import { openSync } from 'node:fs';
         const { packTree } = await import('${new URL('../../src/archive/pack.ts', import.meta.url).href}');
         for (const oneFileSystem of [true, false]) {
           const packed = packTree(openSync('.', 'r'), { fs: layerFs, oneFileSystem });
           console.log(Buffer.concat(await Array.fromAsync(packed)).toString('latin1').match(/(dir|file|other)[a-z/]*|inside|y(?=\\n)/g).join(' '));
         }`)}`,
    );
    expect(names.split('\n')).toEqual([
      'dir/ file other/ other/y y',
      'dir/ dir/secret inside file y other/ other/y y',
      '',
    ]);
  });

  test('an aborted one stores nothing', async () => {
    await using store = await open('store');
    const [mount] = await store.snapshots.prepare('base', undefined);
    writeFileSync(join(mount!.source, 'large'), Buffer.alloc(8_000_000));
    const abort = new AbortController();
    const layer = store.createLayer('base', { signal: abort.signal });
    abort.abort(new Error('enough'));
    await expect(layer).rejects.toThrow('enough');
    expect(await Array.fromAsync(store.content.list())).toEqual([]);
  });
});

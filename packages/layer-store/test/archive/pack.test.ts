/** Archives of directory trees: what is listed, how it is named, and what a changing tree does to it. */
import {
  chmodSync,
  closeSync,
  constants,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  renameSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { layerFs } from '@tare/runtime-native/syscalls';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { packTree, type PackOptions } from '../../src/index.ts';
import { collect, type Member } from '../tar/collect.ts';

let root: string;
let fd: number;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'tare-pack-'));
  fd = openSync(root, constants.O_RDONLY | constants.O_DIRECTORY);
});
afterEach(() => {
  closeSync(fd);
  rmSync(root, { recursive: true, force: true });
});

async function pack(options: Partial<PackOptions> = {}): Promise<Member[]> {
  return collect(Buffer.concat(await Array.fromAsync(packTree(fd, { fs: layerFs, ...options }))));
}
const names = async (options?: Partial<PackOptions>) => (await pack(options)).map(({ name }) => name);
const descriptors = (): number => readdirSync('/proc/self/fd').length;

describe('packTree', () => {
  test('says what a tree is, without its times', async () => {
    const summary = async (options: Partial<PackOptions> = {}): Promise<string> =>
      Buffer.concat(
        await Array.fromAsync(packTree(fd, { fs: layerFs, summary: true, ...options })),
      ).toString();
    mkdirSync(join(root, 'd'));
    writeFileSync(join(root, 'd/f'), 'x'.repeat(100_000));
    linkSync(join(root, 'd/f'), join(root, 'd/g'));
    symlinkSync('f', join(root, 'd/l'));
    const first = await summary();
    expect(first.length).toBeLessThan(1000);
    utimesSync(join(root, 'd/f'), 1, 1);
    expect(await summary()).toBe(first);
    const seen = new Set([first]);
    const changes = [
      () => writeFileSync(join(root, 'd/f'), `${'x'.repeat(99_999)}y`),
      () => chmodSync(join(root, 'd/f'), 0o700),
      () => renameSync(join(root, 'd/l'), join(root, 'd/m')),
      () => rmSync(join(root, 'd/g')),
      () => mkdirSync(join(root, 'd/e')),
      () => rmdirSync(join(root, 'd/e')),
      () => symlinkSync('g', join(root, 'd/l')),
    ];
    for (const change of changes) {
      change();
      seen.add(await summary());
    }
    // making a directory and removing it again is no change
    expect(seen.size).toBe(changes.length);
    expect(await summary({ owner: { uid: 5, gid: 6 } })).not.toBe(await summary());
  });

  test('lists a directory by bare names, in order, parents first', async () => {
    mkdirSync(join(root, 'b/c'), { recursive: true });
    for (const file of ['z', 'a', 'b/2', 'b/1', 'b/c/x']) writeFileSync(join(root, file), file);
    expect(await names()).toEqual(['a', 'b/', 'b/1', 'b/2', 'b/c/', 'b/c/x', 'z']);
    expect(await names({ as: '.' })).toEqual(['./', 'a', 'b/', 'b/1', 'b/2', 'b/c/', 'b/c/x', 'z']);
    expect(await names({ as: 'top' })).toEqual([
      'top/',
      'top/a',
      'top/b/',
      'top/b/1',
      'top/b/2',
      'top/b/c/',
      'top/b/c/x',
      'top/z',
    ]);
  });

  test('lists one name of it, under another', async () => {
    mkdirSync(join(root, 'dir'));
    writeFileSync(join(root, 'dir/x'), 'content');
    symlinkSync('dir', join(root, 'link'));
    expect(await names({ name: 'dir' })).toEqual(['dir/', 'dir/x']);
    expect(await names({ name: 'dir', as: 'other' })).toEqual(['other/', 'other/x']);
    expect(await pack({ name: 'link' })).toMatchObject([{ type: 'symlink', linkName: 'dir' }]);
    await expect(names({ name: 'none' })).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  test('a second name is a hard link to the first, whose content is not repeated', async () => {
    writeFileSync(join(root, 'a'), 'content');
    linkSync(join(root, 'a'), join(root, 'b'));
    expect(await pack({ as: 'x' })).toMatchObject([
      { name: 'x/' },
      { name: 'x/a', type: 'file', content: Buffer.from('content') },
      { name: 'x/b', type: 'hardlink', linkName: 'x/a', size: 0 },
    ]);
  });

  test('leaves sockets out, and takes a name of a whiteout as it is where there is no layer', async () => {
    const server = createServer().listen(join(root, 'socket'));
    await once(server, 'listening');
    writeFileSync(join(root, '.wh.x'), '');
    expect(await names()).toEqual(['.wh.x']);
    server.close();
  });

  test('files of every length around the size of a piece come back whole', async () => {
    const lengths = [0, 1, 511, 512, 513, 65_535, 65_537, 262_143, 262_144, 262_145, 1_000_000];
    for (const length of lengths)
      writeFileSync(join(root, String(length)), Buffer.alloc(length, length % 251));
    for (const { name, content } of await pack()) {
      const length = Number(name);
      expect(content.equals(Buffer.alloc(length, length % 251)), name).toBe(true);
    }
  });

  test('a file that shrinks is filled up, and the archive stays one', async () => {
    writeFileSync(join(root, 'a'), Buffer.alloc(1_000_000, 1));
    writeFileSync(join(root, 'b'), 'after');
    const parts: Buffer[] = [];
    for await (const part of packTree(fd, { fs: layerFs })) {
      if (parts.length === 0) truncateSync(join(root, 'a'), 300_000);
      parts.push(part);
    }
    const [a, b] = collect(Buffer.concat(parts));
    expect(a!.content.length).toBe(1_000_000);
    expect(a!.content.subarray(999_000).every((byte) => byte === 0)).toBe(true);
    expect(b!.content.toString()).toBe('after');
  });

  test('whoever stops early, or is aborted, leaves no descriptor open', async () => {
    mkdirSync(join(root, 'a/b/c'), { recursive: true });
    for (const name of ['x', 'y']) writeFileSync(join(root, 'a/b/c', name), Buffer.alloc(2_000_000));
    const before = descriptors();
    for await (const _ of packTree(fd, { fs: layerFs })) break;
    expect(descriptors()).toBe(before);
    const signal = AbortSignal.abort(new Error('enough'));
    await expect(pack({ signal })).rejects.toThrow('enough');
    expect(descriptors()).toBe(before);
  });
});

/** Files made on a thread of their own: whatever the archive, the tree is that of making one thing after the other. */
import {
  closeSync,
  constants,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
} from 'node:fs';
import { join } from 'node:path';
import { layerFs, mountAt, unmount } from '@tare/runtime-native/syscalls';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { LayerFs } from '../../src/index.ts';
import { O_PATH } from '../../src/node-fs.ts';
import { TarBuilder } from '../../src/testing/index.ts';
import { isRoot, needsRoot, Place, singly } from './unpack.ts';

const { O_DIRECTORY } = constants;

if (!isRoot) process.stderr.write(`files on a thread of their own are skipped: ${needsRoot}\n`);

type Member = [
  kind: 'file' | 'large' | 'directory' | 'symlink' | 'hardlink' | 'fifo',
  name: string,
  to: string,
];

const component = fc.constantFrom('a', 'b', 'c', '.wh.a', '.wh.b', '.wh..wh..opq');
const path = fc.array(component, { minLength: 1, maxLength: 3 }).map((names) => names.join('/'));
const members: fc.Arbitrary<Member[]> = fc.array(
  fc.tuple(
    // files in their majority, as in archives, so that many wait at a time
    fc.constantFrom('file', 'file', 'file', 'large', 'directory', 'symlink', 'hardlink', 'fifo'),
    path,
    path,
  ),
  { maxLength: 25 },
);

/** What looks at a file, replaces it or takes its place before it may be there. */
const LOOKED_AT_OR_REPLACED = [
  'file a, hardlink b a, file a',
  'file a, file a, large a, file a',
  'file a, file a/b',
  'file a/b, file a, file a/c',
  'file a/b, file a/c, symlink a b, file a/d',
  'file a/b/c, file a/b/d, fifo a',
  'symlink a b, directory b, file a/c, file a, file a/c',
  'file a, file .wh.a, directory a, file a',
];

function parse(text: string): Member[] {
  return text.split(', ').map((member) => {
    const [kind, name, to = ''] = member.split(' ');
    return [kind as Member[0], name!, to];
  });
}

function archiveOf(list: Member[]): Buffer {
  const tar = new TarBuilder();
  for (const [number, [kind, name, to]] of list.entries()) {
    const fields = { mode: 0o600 + number, uid: number, mtimeNs: BigInt(number) };
    if (kind === 'file') tar.file(name, `content ${number}`, fields);
    else if (kind === 'large') tar.file(name, Buffer.alloc(1024 * 1024 + 1, number), fields);
    else if (kind === 'symlink' || kind === 'hardlink') tar[kind](name, to, fields);
    else tar.entry(kind, name, fields);
  }
  return tar.build();
}

/** All below a directory, files with the names that they share. */
function treeOf(root: string): unknown[] {
  const firstNames = new Map<number, string>();
  return readdirSync(root, { recursive: true, encoding: 'utf8' })
    .sort()
    .map((name) => {
      const at = join(root, name);
      const { mode, uid, gid, size, ino, nlink, rdev, mtimeNs } = lstatSync(at, { bigint: true });
      const kind = Number(mode) & 0o170000;
      if (!firstNames.has(Number(ino))) firstNames.set(Number(ino), name);
      const content = kind === 0o100000 ? readFileSync(at) : kind === 0o120000 ? readlinkSync(at) : undefined;
      // a whiteout is as old as it is
      const time = kind === 0o020000 ? undefined : mtimeNs;
      const looks = { mode, uid, gid, rdev, time, content, same: firstNames.get(Number(ino)) };
      return kind === 0o040000
        ? { name, ...looks, opaque: layerFs.getxattrat(-100, at, 'trusted.overlay.opaque') }
        : { name, ...looks, size, nlink };
    });
}

/** What becomes of an archive: the tree and the report, or why there is none. */
async function outcome(archive: Buffer, fs: LayerFs): Promise<unknown> {
  using place = new Place();
  try {
    const { diffId: _, ...report } = await place.unpack(archive, { fs });
    return { report, tree: treeOf(place.root) };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return { code, message };
  } finally {
    place.checkVictim();
  }
}

/** Makes nothing before it must: every look at the tree that comes too early finds nothing. */
const late: LayerFs = {
  ...layerFs,
  fileQueue() {
    let waiting: (() => void)[] = [];
    return {
      add(dirfd, name, content, attributes) {
        const directory = openSync(`/proc/self/fd/${dirfd}`, O_PATH | O_DIRECTORY);
        const copy = Buffer.from(content);
        waiting.push(() => {
          rmSync(`/proc/self/fd/${directory}/${name.toString()}`, { force: true });
          layerFs.createFile(directory, name, copy, attributes);
          closeSync(directory);
        });
        return true;
      },
      settle() {
        for (const make of waiting) make();
        waiting = [];
        return undefined;
      },
      [Symbol.dispose]() {},
    };
  },
};

describe.skipIf(!isRoot)('files on a thread of their own', () => {
  test('make the tree, or the error, that single calls make', async () => {
    const both = async (list: Member[]): Promise<void> => {
      const archive = archiveOf(list);
      const expected = await outcome(archive, singly);
      expect(await outcome(archive, layerFs)).toEqual(expected);
      expect(await outcome(archive, late)).toEqual(expected);
    };
    await fc.assert(fc.asyncProperty(members, both), {
      numRuns: 400,
      examples: LOOKED_AT_OR_REPLACED.map((text) => [parse(text)]),
    });
  }, 120_000);

  test('tell of a full disk with the name of the member', async () => {
    using place = new Place();
    mountAt({ type: 'tmpfs', source: 'tmpfs', options: ['size=4m'] }, place.root);
    try {
      const tar = new TarBuilder();
      for (let i = 0; i < 200; i++) tar.file(`f${i}`, Buffer.alloc(100_000, 'x'));
      const unpacking = place.unpack(tar.build());
      await expect(unpacking).rejects.toMatchObject({ code: 'IO_ERROR', cause: { code: 'ENOSPC' } });
      const last = readdirSync(place.root).length - 1;
      await expect(unpacking).rejects.toMatchObject({
        entry: `f${last}`,
        message: expect.stringContaining(`cannot unpack "f${last}": ENOSPC`),
      });
    } finally {
      unmount(place.root);
    }
  });

  test('are closed with an archive that breaks off', async () => {
    const tar = new TarBuilder();
    for (let i = 0; i < 500; i++) tar.file(`f${i}`, Buffer.alloc(10_000, 'x'));
    const broken = tar.build().subarray(0, 3_000_100);
    const threads: number[] = [];
    for (let round = 0; round < 3; round++) {
      using place = new Place();
      await expect(place.unpack(broken)).rejects.toMatchObject({ code: 'INVALID_TAR' });
      threads.push(readdirSync('/proc/self/task').length);
      const made = readdirSync(place.root).length;
      await new Promise((resolve) => setTimeout(resolve, 50));
      expect(readdirSync(place.root).length).toBe(made);
    }
    // the first one may have started what Node.js keeps
    expect(threads[2]).toBe(threads[1]);
  });
});

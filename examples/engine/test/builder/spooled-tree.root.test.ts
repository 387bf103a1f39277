/** A context that is never unpacked is what unpacking it would give: the same files, links and digests. Needs root. */
import { encodeTarHeader, FileHasher, tarEntry, tarPadding, TAR_END, type TarEntry } from '@tare/layer-store';
import { layerFs } from '@tare/runtime-native/syscalls';
import * as fc from 'fast-check';
import { mkdtempSync, rmSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { nativeTrees } from '../../src/adapters.ts';
import { KeptFiles } from '../../src/builder/kept-files.ts';
import { spoolArchive } from '../../src/builder/spool-archive.ts';
import { Spool } from '../../src/builder/spool.ts';
import { newDirectory, SpooledTree } from '../../src/builder/spooled-tree.ts';
import { followLinks, type TreePart, type TreeRoot } from '../../src/containers/trees.ts';

const isRoot = process.getuid?.() === 0;
const trees = nativeTrees(layerFs);
const signal = new AbortController().signal;

type Member = { entry: TarEntry; content?: string };

function archiveOf(members: readonly Member[]): Buffer {
  const parts = members.flatMap(({ entry, content = '' }) => [
    encodeTarHeader(entry),
    Buffer.from(content),
    tarPadding(content.length),
  ]);
  return Buffer.concat([...parts, TAR_END]);
}

async function* pieces(archive: Buffer): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < archive.length; at += 1000) yield archive.subarray(at, at + 1000);
}

const hashers = {
  'the thread that reads': () => undefined,
  'another thread': () => new FileHasher(),
};

describe.skipIf(!isRoot).each(Object.entries(hashers))(
  `trees of archives, hashed by %s${isRoot ? '' : ' (skipped: needs root)'}`,
  (_, openHasher) => {
    let folder: string;
    let made = 0;
    let hasher: FileHasher | undefined;
    beforeAll(() => {
      hasher = openHasher();
    });
    afterAll(() => hasher?.[Symbol.asyncDispose]());
    beforeEach(() => {
      folder = mkdtempSync(join(tmpdir(), 'tare-tree-'));
    });
    afterEach(() => rmSync(folder, { recursive: true, force: true }));

    async function spooled(archive: Buffer): Promise<{ tree: SpooledTree } & Disposable> {
      made += 1;
      const spool = new Spool(join(folder, String(made)), hasher);
      const held = spool.hold();
      // of small contexts the thread that reads makes the digests in any case
      if (hasher) spool.create().extendTo(2 * 1024 * 1024);
      try {
        const tree = new SpooledTree(await spoolArchive(pieces(archive), spool, signal));
        return { tree, [Symbol.dispose]: () => held[Symbol.dispose]() };
      } catch (error) {
        held[Symbol.dispose]();
        throw error;
      }
    }

    async function unpacked(archive: Buffer): Promise<string> {
      made += 1;
      const directory = join(folder, String(made));
      await mkdir(directory);
      await trees.extract(pieces(archive), directory, '/', {
        owner: { uid: 0, gid: 0 },
        sameKind: false,
        signal,
      });
      return directory;
    }

    /** What steps make of a root; directories on the way have times of their own. */
    async function seen(root: TreeRoot): Promise<unknown[]> {
      const whole: TreePart = { kind: 'tree', root, path: '/', name: 'in/side', mtimeNs: 7n };
      const looks: Omit<TreePart & { kind: 'tree' }, 'root' | 'path' | 'kind' | 'name'>[] = [
        {},
        { owner: { uid: 3, gid: 4 }, modeOf: (mode) => mode | 0o111 },
        { exclude: (path) => path.endsWith('a') },
        { exclude: (path, isDirectory) => isDirectory && path.endsWith('b') },
      ];
      const found: unknown[] = [];
      for (const look of looks) {
        const part = { ...whole, ...look };
        found.push((await buffer(trees.layer([part], signal))).toString('latin1'));
        found.push((await buffer(trees.summary([part], signal))).toString());
      }
      for (const path of ['/', '/a', '/a/', '/a/b', '/l', '/l/.', '/l/a', '/b/../a', '/nothing/x']) {
        const real = followLinks(trees, root, path);
        const answers = [path, real].flatMap((one) => [
          attempt(() => {
            const { mode, linkName, size } = trees.stat(root, one);
            return [mode, linkName, (mode & 0o170000) === 0o100000 ? size : 0];
          }),
          attempt(() => trees.names(root, one).sort()),
          attempt(() => trees.read(root, one, 3).toString()),
        ]);
        found.push([path, real, ...answers]);
      }
      return found;
    }

    function attempt(work: () => unknown): unknown {
      try {
        return work();
      } catch (error) {
        return (error as NodeJS.ErrnoException).code;
      }
    }

    const names = fc
      .array(fc.constantFrom('a', 'b', 'l', '..', 'ü'), { minLength: 1, maxLength: 3 })
      .map((parts) => parts.join('/'));
    const member = fc
      .record({
        type: fc.constantFrom('file', 'file', 'directory', 'symlink', 'hardlink', 'fifo'),
        name: names,
        target: fc.oneof(
          names,
          names.map((name) => `/${name}`),
        ),
        mode: fc.constantFrom(0o644, 0o755, 0o4750),
        content: fc.constantFrom('', 'x', 'content'.repeat(100)),
      })
      .map(({ type, name, target, mode, content }): Member => {
        const isLink = type === 'symlink' || type === 'hardlink';
        const linkName = isLink ? Buffer.from(target).toString('latin1') : '';
        const own = type === 'file' ? { content } : {};
        const fields = { mode, linkName, mtimeNs: 5_000_000_000n, size: own.content?.length ?? 0, uid: 9 };
        return { entry: tarEntry(type as TarEntry['type'], name, fields), ...own };
      });

    test('are what unpacking gives, whatever is in the archive', { timeout: 120_000 }, async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(member, { maxLength: 8 }), async (members) => {
          const archive = archiveOf(members);
          const [own, other] = await Promise.allSettled([spooled(archive), unpacked(archive)]);
          expect(own.status).toBe(other.status);
          if (own.status === 'rejected' || other.status === 'rejected') return;
          using held = own.value;
          expect(await seen(held.tree)).toEqual(await seen(other.value));
        }),
        { numRuns: process.env.TARE_TEST_FULL === undefined ? 150 : 2000 },
      );
    });

    test('have holes where the archive has zeros, and read back what was in it, compressed or not', async () => {
      const content = `${'\0'.repeat(200_000)}end${'\0'.repeat(70_000)}`;
      const members = [
        { entry: tarEntry('file', 'f', { size: content.length }), content },
        { entry: tarEntry('file', 'g', { size: 1 }), content: 'g' },
      ];
      const plain = archiveOf(members);
      for (const archive of [plain, gzipSync(plain)]) {
        using held = await spooled(archive);
        expect((await buffer(held.tree.stream('/f'))).toString()).toBe(content);
        expect(await seen(held.tree)).toEqual(await seen(await unpacked(plain)));
      }
    });

    test('of a client are kept within bounds, and let go of when they are mostly waste', () => {
      let freeBytes = 1e12;
      const kept = new KeptFiles(() => freeBytes);
      const tree = (sizeBytes: number): SpooledTree => {
        const root = newDirectory(0o755, 0n);
        const { entry } = newDirectory(0o644, 0n);
        root.children.set('f', { entry: { ...entry, type: 'file', size: sizeBytes } });
        return new SpooledTree(root);
      };
      const spool = (sizeBytes: number): Spool => {
        made += 1;
        const own = new Spool(join(folder, String(made)), hasher);
        own.create().extendTo(sizeBytes);
        return own;
      };
      const small = spool(1000);
      kept.keep('a', tree(1000), small);
      expect(kept.get('a')?.spool).toBe(small);
      kept.keep('b', tree(1000), spool(200 * 1024 * 1024));
      expect(kept.get('b')).toBeUndefined();
      kept.keep('c', tree(3 * 1024 ** 3), spool(3 * 1024 ** 3));
      kept.keep('d', tree(2 * 1024 ** 3), spool(2 * 1024 ** 3));
      expect(['a', 'c', 'd'].map((key) => kept.get(key) !== undefined)).toEqual([false, false, true]);
      freeBytes = 8000;
      kept.keep('e', tree(1000), spool(1000));
      kept.keep('f', tree(4000), spool(4000));
      expect(['d', 'e', 'f'].map((key) => kept.get(key) !== undefined)).toEqual([false, false, false]);
      kept.keep('d', tree(1000), spool(1000));
      expect(kept.get('d')).toBeDefined();
      kept.keep('d', kept.get('d')!.tree, kept.get('d')!.spool);
      const [record] = kept.list();
      expect(record).toMatchObject({ sizeBytes: 1000, uses: 2, inUse: false });
      const building = kept.get('d')!.spool.hold();
      expect(kept.list()).toMatchObject([{ inUse: true }]);
      building[Symbol.dispose]();
      expect(kept.remove('sha256:0')).toBe(false);
      expect(kept.remove(record!.id)).toBe(true);
      expect(kept.list()).toEqual([]);
      expect(kept.get('d')).toBeUndefined();
    });
  },
);

import { execFileSync } from 'node:child_process';
import { existsSync, rmSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { flattenLayers, tarMembers } from '../../src/archive/index.ts';
import { TarBuilder } from '../../src/testing/index.ts';

const isDirectory = (path: string): boolean => existsSync(`${path}/.`);

function remove(path: string): void {
  // below a file there is nothing
  if (isDirectory(join(path, '..'))) rmSync(path, { recursive: true, force: true });
}

const reader = (bytes: Uint8Array) => async () =>
  (async function* () {
    for (let at = 0; at < bytes.length; at += 1_000) yield bytes.slice(at, at + 1_000);
  })();

/** The flattened tree as `path type content`, and its archive. */
async function flat(...layers: TarBuilder[]): Promise<string[]> {
  const archive = Buffer.concat(
    await Array.fromAsync(flattenLayers(layers.map((layer) => reader(gzipSync(layer.build()))))),
  );
  const lines: string[] = [];
  for await (const { entry, content } of tarMembers(await reader(archive)())) {
    const text = Buffer.concat(await Array.fromAsync(content)).toString();
    lines.push(
      `${entry.name} ${entry.type}${entry.linkName && ` -> ${entry.linkName}`}${text && ` ${text}`}`,
    );
  }
  expect(new Set(lines.map((line) => line.split(' ')[0])).size).toBe(lines.length);
  return lines.filter((line) => line !== './ directory');
}

describe('flattenLayers', () => {
  test('lays layers over each other, with whiteouts and opaque directories', async () => {
    const base = new TarBuilder()
      .directory('a/')
      .file('a/one', '1')
      .file('a/two', '2')
      .directory('b/')
      .file('b/gone', 'x')
      .file('c', 'c')
      .file('d/implied', 'd');
    const second = new TarBuilder()
      .file('a/.wh.one')
      .file('b/new', 'n')
      .file('b/.wh..wh..opq')
      .file('.wh.c')
      .file('c', 'again')
      .file('d/.wh..wh.plnk', 'aufs');
    expect(await flat(base, second)).toEqual([
      'a/ directory',
      'b/ directory',
      'd/ directory',
      'a/two file 2',
      'd/implied file d',
      'b/new file n',
      'c file again',
    ]);
  });

  test('replaces files by directories and directories by files, and follows links in the way', async () => {
    const base = new TarBuilder()
      .directory('usr/lib/')
      .symlink('lib', 'usr/lib')
      .symlink('abs', '/usr/../usr/lib')
      .file('f', 'f')
      .file('dir/in', 'x');
    const second = new TarBuilder()
      .file('lib/l', 'L')
      .file('abs/m', 'M')
      .file('f/g', 'g')
      .file('dir', 'now a file');
    expect((await flat(base, second)).sort()).toEqual([
      'abs symlink -> /usr/../usr/lib',
      'dir file now a file',
      'f/ directory',
      'f/g file g',
      'lib symlink -> usr/lib',
      'usr/ directory',
      'usr/lib/ directory',
      'usr/lib/l file L',
      'usr/lib/m file M',
    ]);
  });

  test('keeps hard links, also when the first of their names is gone', async () => {
    const base = new TarBuilder().file('a', 'shared').hardlink('b', 'a').hardlink('c', 'a');
    expect(await flat(base)).toEqual(['a file shared', 'b hardlink -> a', 'c hardlink -> a']);
    expect(await flat(base, new TarBuilder().file('.wh.a'))).toEqual(['b file shared', 'c hardlink -> b']);
    expect(await flat(base, new TarBuilder().file('a', 'own').hardlink('d', 'b'))).toEqual([
      'b file shared',
      'c hardlink -> b',
      'd hardlink -> b',
      'a file own',
    ]);
    await expect(flat(new TarBuilder().hardlink('a', '../../etc/passwd'))).rejects.toMatchObject({
      code: 'UNSAFE_ENTRY',
    });
    await expect(flat(new TarBuilder().hardlink('a', 'nothing'))).rejects.toMatchObject({
      code: 'UNSAFE_ENTRY',
    });
  });

  test('takes links in a circle for what they are', async () => {
    const base = new TarBuilder().symlink('x', 'y').symlink('y', 'x');
    expect(await flat(base, new TarBuilder().file('x/f', 'f'))).toEqual(
      expect.arrayContaining([expect.stringMatching(/\/f file f$/)]),
    );
  });
});

test.skipIf(process.getuid!() !== 0)(
  'agrees with unpacking layer by layer with GNU tar',
  async () => {
    const name = fc.constantFrom('a', 'b', 'c');
    const path = fc.array(name, { minLength: 1, maxLength: 3 }).map((parts) => parts.join('/'));
    const member = fc.oneof(
      fc.record({ kind: fc.constant('file' as const), path, text: fc.constantFrom('1', '22', '') }),
      fc.record({ kind: fc.constant('directory' as const), path }),
      fc.record({ kind: fc.constant('whiteout' as const), path }),
    );
    const layer = fc.uniqueArray(member, { maxLength: 6, selector: (each) => each.path });
    await fc.assert(
      fc.asyncProperty(fc.array(layer, { minLength: 1, maxLength: 4 }), async (layers) => {
        const folder = await mkdtemp(join(tmpdir(), 'tare-flatten-'));
        try {
          const tree = join(folder, 'tree');
          await mkdir(tree);
          const builders = layers.map((members) => {
            // within one layer a name is a file or a directory, not both
            const kept = members.filter(
              ({ path: own, kind }) =>
                kind === 'directory' || !members.some((other) => other.path.startsWith(`${own}/`)),
            );
            const whiteouts = kept.filter(({ kind }) => kind === 'whiteout');
            const rest = kept.filter(({ kind }) => kind !== 'whiteout');
            const builder = new TarBuilder();
            const plain = new TarBuilder();
            for (const { path: own } of whiteouts) {
              const slash = own.lastIndexOf('/') + 1;
              builder.file(`${own.slice(0, slash)}.wh.${own.slice(slash)}`);
            }
            for (const each of rest) {
              for (const target of [builder, plain]) {
                if (each.kind === 'file') target.file(each.path, each.text);
                else target.directory(`${each.path}/`);
              }
            }
            return { builder, plain, whiteouts, rest };
          });
          for (const { plain, whiteouts, rest } of builders) {
            for (const { path: own } of whiteouts) remove(join(tree, own));
            for (const each of rest) {
              const parts = each.path.split('/');
              // tar replaces neither a directory by a file nor a file by the directory that a member needs
              for (let i = 1; i < parts.length; i++) {
                const above = join(tree, ...parts.slice(0, i));
                if (!isDirectory(above)) remove(above);
              }
              const place = join(tree, each.path);
              if (each.kind === 'file' || !isDirectory(place)) remove(place);
            }
            const file = join(folder, 'layer.tar');
            await writeFile(file, plain.build());
            execFileSync('tar', ['-xf', file, '-C', tree]);
          }
          const flattened = join(folder, 'flat');
          await mkdir(flattened);
          const archive = flattenLayers(builders.map(({ builder }) => reader(builder.build())));
          await writeFile(join(folder, 'flat.tar'), Buffer.concat(await Array.fromAsync(archive)));
          execFileSync('tar', ['-xf', join(folder, 'flat.tar'), '-C', flattened]);
          expect(execFileSync('diff', ['-r', tree, flattened], { encoding: 'utf8' })).toBe('');
        } finally {
          await rm(folder, { recursive: true });
        }
      }),
      { numRuns: process.env['TARE_TEST_FULL'] ? 300 : 15 },
    );
  },
  600_000,
);

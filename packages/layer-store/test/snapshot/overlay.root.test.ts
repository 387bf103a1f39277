/** Overlay snapshots on the real kernel. Needs root. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { layerFs } from '@tare/runtime-native/syscalls';
import { afterEach, beforeEach, describe, expect, it, test } from 'vitest';
import { openOverlaySnapshotter, type OverlaySnapshotter } from '../../src/snapshot/index.ts';
import { snapshotterSuite } from '../../src/testing/index.ts';
import { isRoot } from '../apply/unpack.ts';
import { runMounted } from '../mounted.ts';

if (!isRoot) process.stderr.write('overlay snapshots are not mounted: needs root\n');

let base: string;
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'tare-snapshots-'));
});
afterEach(() => rmSync(base, { recursive: true, force: true }));

const open = (): Promise<OverlaySnapshotter> => openOverlaySnapshotter(join(base, 'root'), { fs: layerFs });

snapshotterSuite({ describe, it }, 'overlay', open, isRoot ? { run: runMounted } : undefined);

/** Runs a program with `snapshots` open in a process of its own, kills it when it prints something. */
async function killedWhile(program: string): Promise<void> {
  const imports = `
    import { openOverlaySnapshotter } from ${JSON.stringify(new URL('../../src/index.ts', import.meta.url).href)};
    import { layerFs } from '@tare/runtime-native/syscalls';
    import * as fs from 'node:fs';
    const snapshots = await openOverlaySnapshotter(${JSON.stringify(join(base, 'root'))}, { fs: layerFs });`;
  const child = spawn(
    process.execPath,
    [
      '--conditions=@tare/source',
      '--input-type=module',
      '-e',
      `${imports}\n${program}\nsetInterval(() => {}, 1e9)`,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'], cwd: join(import.meta.dirname, '../..') },
  );
  const exited = once(child, 'exit');
  await Promise.race([once(child.stdout, 'data'), exited]);
  child.kill('SIGKILL');
  await exited;
}

const roots = (): string[] => ['s', 't'].flatMap((name) => readdirSync(join(base, 'root', name)));

test('snapshots are placed far from each other', async () => {
  const asked: string[] = [];
  const spreadSubdirectories = (fd: number): boolean => {
    asked.push(readlinkSync(`/proc/self/fd/${fd}`));
    return layerFs.spreadSubdirectories(fd);
  };
  const root = join(base, 'root');
  await using _ = await openOverlaySnapshotter(root, { fs: { ...layerFs, spreadSubdirectories } });
  expect(asked).toEqual([join(root, 's'), join(root, 't')]);
});

test('everything is there after a reopening', async () => {
  {
    await using snapshots = await open();
    await snapshots.prepare('base', undefined);
    await snapshots.commit('one', 'base');
    await snapshots.prepare('active', 'one');
  }
  await using snapshots = await open();
  expect(
    (await Array.fromAsync(snapshots.list())).map(({ name, kind, parent }) => [name, kind, parent]),
  ).toEqual(
    expect.arrayContaining([
      ['one', 'committed', undefined],
      ['active', 'active', 'one'],
    ]),
  );
  await expect(snapshots.remove('one')).rejects.toMatchObject({ code: 'IN_USE' });
});

test('one process at a time, and one in a process', async () => {
  await using first = await open();
  await expect(open()).rejects.toMatchObject({ code: 'IN_USE' });
  await first[Symbol.asyncDispose]();
  await using second = await open();
  expect(await second.stat('x')).toBeUndefined();
  await expect(first.stat('x')).rejects.toMatchObject({ code: 'CLOSED' });
});

test('the lock of a killed process falls to the next, which sweeps what was staged', async () => {
  await killedWhile(`
    const stage = await snapshots.stage();
    fs.writeFileSync(stage.directory + '/half', 'written');
    await snapshots.prepare('active', undefined);
    console.log('staged');`);
  expect(readdirSync(join(base, 'root/t'))).toHaveLength(1);
  await using snapshots = await open();
  expect(readdirSync(join(base, 'root/t'))).toEqual([]);
  expect((await snapshots.stat('active'))?.kind).toBe('active');
});

test('directories without a record and records without a directory go', async () => {
  {
    await using snapshots = await open();
    await snapshots.prepare('gone', undefined);
    await snapshots.prepare('kept', undefined);
    const [mount] = await snapshots.mounts('gone');
    rmSync(join(mount!.source, '..'), { recursive: true });
    // as when a process dies between the directory and its record, or the power fails before the record is written
    const [kept] = await snapshots.mounts('kept');
    const orphan = join(kept!.source, '../../orphan');
    writeFileSync(orphan, '');
    writeFileSync(join(base, 'root/m/torn.json'), '');
  }
  await using snapshots = await open();
  expect((await Array.fromAsync(snapshots.list())).map(({ name }) => name)).toEqual(['kept']);
  expect(roots()).toHaveLength(1);
  expect(readdirSync(join(base, 'root/m'))).toEqual(['kept.json']);
});

test('a commit that was cut short between its two records is finished by the next opening', async () => {
  {
    await using snapshots = await open();
    await snapshots.prepare('key', undefined);
    const text = JSON.stringify({
      version: 1,
      name: 'done',
      kind: 'committed',
      id: readdirSync(join(base, 'root/s'))[0],
      createdAt: new Date().toISOString(),
    });
    writeFileSync(join(base, 'root/m/done.json'), text);
  }
  await using snapshots = await open();
  expect((await Array.fromAsync(snapshots.list())).map(({ name }) => name)).toEqual(['done']);
});

test('a record of another version is never taken for garbage', async () => {
  await (await open())[Symbol.asyncDispose]();
  writeFileSync(join(base, 'root/m/new.json'), '{"version":2}');
  await expect(open()).rejects.toMatchObject({ code: 'CORRUPT_STORE' });
  expect(readdirSync(join(base, 'root/m'))).toEqual(['new.json']);
  expect(readdirSync(join(base, 'root'))).not.toContain('owner');
});

test('refuses roots that overlay cannot have in its options', async () => {
  await expect(openOverlaySnapshotter(join(base, 'a:b'), { fs: layerFs })).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
  });
});

test('a layer that is staged twice is committed once', async () => {
  await using snapshots = await open();
  await using first = await snapshots.stage();
  await using second = await snapshots.stage();
  const layer = { impliedDirectories: [], usage: { sizeBytes: 0, inodes: 1 } };
  const outcomes = await Promise.allSettled([
    first.commit('one', undefined, layer),
    second.commit('one', undefined, layer),
  ]);
  expect(outcomes.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
  await first[Symbol.asyncDispose]();
  await second[Symbol.asyncDispose]();
  expect(roots()).toHaveLength(1);
});

// overlay takes 500 layers where they can be set one by one (Linux 6.5), else what fits a page of options
const [major = 0, minor = 0] = release().split('.').map(Number);
const MOST = major > 6 || (major === 6 && minor >= 5) ? 500 : 128;
if (MOST < 500) process.stderr.write('500 layers are not mounted: needs Linux 6.5\n');

test.skipIf(!isRoot).each([1, 2, MOST])('mounts %i layers', { timeout: 60_000 }, async (count) => {
  await using snapshots = await open();
  let parent: string | undefined;
  for (let i = 0; i < count; i++) {
    await using stage = await snapshots.stage();
    writeFileSync(join(stage.directory, `file-${i}`), '');
    const name = `layer-${i}`;
    await stage.commit(name, parent, { impliedDirectories: [''], usage: { sizeBytes: 0, inodes: 2 } });
    parent = name;
  }
  const [mount] = await snapshots.prepare('container', parent);
  const lowers = mount!.options
    .find((option) => option.startsWith('lowerdir='))!
    .slice(9)
    .split(':');
  expect(lowers).toHaveLength(count);
  // mount(2) takes one page of options; whoever has fsconfig sets the layers one by one
  expect(Math.max(...lowers.map((lower) => lower.length))).toBeLessThan(join(base, 'root').length + 12);
  const target = join(base, 'mounted');
  mkdirSync(target);
  const program = `
    import { mountAt } from '@tare/runtime-native/syscalls';
    import { readdirSync } from 'node:fs';
    mountAt(${JSON.stringify(mount)}, ${JSON.stringify(target)});
    console.log(readdirSync(${JSON.stringify(target)}).length);`;
  const node = [process.execPath, '--conditions=@tare/source', '--input-type=module', '-e', program];
  const output = execFileSync('unshare', ['-m', '--propagation', 'private', ...node], {
    cwd: join(import.meta.dirname, '../..'),
    encoding: 'utf8',
  });
  expect(output).toBe(`${count}\n`);
});

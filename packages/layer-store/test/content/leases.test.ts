import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MemoryContent } from '@tare/image-spec/content';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { collectGarbage, Leases } from '../../src/index.ts';
import { pushBlob } from '../images.ts';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'tare-leases-'));
});
afterEach(() => rm(root, { recursive: true, force: true }));

test('what a lease holds is no garbage until it is released', async () => {
  const leases = new Leases(join(root, 'leases'));
  const content = new MemoryContent();
  const held = await pushBlob(content, Buffer.from('held'), 'text/plain');
  const other = await pushBlob(content, Buffer.from('other'), 'text/plain');
  const lease = await leases.create();
  await Promise.all([lease.hold(held.digest), lease.hold('a snapshot')]);
  expect([...(await leases.names())].sort()).toEqual(['a snapshot', held.digest].sort());
  const collect = () => collectGarbage({ content, roots: [], leases, minAgeMs: -1000 });
  expect((await collect()).blobs).toEqual([other.digest]);
  await lease[Symbol.asyncDispose]();
  await lease[Symbol.asyncDispose]();
  expect((await collect()).blobs).toEqual([held.digest]);
});

test('one with an expiry holds so long, whoever lives', async () => {
  const leases = new Leases(root);
  await (await leases.create({ id: 'pull-7', expiresInMs: 60_000 })).hold('x');
  expect(await leases.list()).toMatchObject([{ id: 'pull-7', names: ['x'] }]);
  expect(await leases.list(Date.now() + 61_000)).toEqual([]);
  expect(await readdir(root)).toEqual([]);
});

test('one without ends with its process', async () => {
  const program = `
    const { Leases } = await import(${JSON.stringify(new URL('../../src/index.ts', import.meta.url).href)});
    const leases = new Leases(${JSON.stringify(root)});
    await (await leases.create({ id: 'mine' })).hold('x');
    await (await leases.create({ id: 'lasting', expiresInMs: 60000 })).hold('y');
    console.log('held');
    setInterval(() => {}, 1e9);`;
  const child = spawn(process.execPath, ['--conditions=@tare/source', '--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const leases = new Leases(root);
  try {
    await once(child.stdout, 'data');
    expect([...(await leases.names())].sort()).toEqual(['x', 'y']);
  } finally {
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
  expect([...(await leases.names())]).toEqual(['y']);
});

test('refuses ids that would be paths, and does not guess what a damaged one held', async () => {
  const leases = new Leases(root);
  await expect(leases.create({ id: '../x' })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  await writeFile(join(root, 'broken.json'), '{');
  await expect(leases.names()).rejects.toMatchObject({ code: 'CORRUPT_STORE' });
});

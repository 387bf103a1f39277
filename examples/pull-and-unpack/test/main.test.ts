import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { startRegistry } from '@tare/registry';
import { RegistryClient } from '@tare/registry-client';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { pushImage } from '../../../test/lab/images.ts';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'tare-unpack-'));
});
afterEach(() => rm(root, { recursive: true, force: true }));

test('an image becomes a plain directory, its layers one upon the other', async () => {
  await using registry = await startRegistry({ root: join(root, 'registry'), host: '127.0.0.1', port: 0 });
  const { host } = new URL(registry.url);
  await using client = new RegistryClient();
  await pushImage(client.repository(`${host}/app`), 'v1', {
    layers: [
      [
        { path: 'etc', type: 'directory' },
        { path: 'etc/gone', content: 'x' },
        { path: 'etc/kept', content: 'kept', mode: 0o640, uid: 12345 },
        { path: 'link', type: 'link', linkname: 'etc/kept' },
      ],
      [
        { path: 'etc/.wh.gone', content: '' },
        { path: 'etc/new', content: 'new' },
        { path: 'pipe', type: 'fifo' },
      ],
    ],
  });
  const target = join(root, 'rootfs');
  const program = join(import.meta.dirname, '../src/main.ts');
  const { stdout } = await promisify(execFile)(process.execPath, [
    '--conditions=@tare/source',
    program,
    `${host}/app:v1`,
    target,
  ]);
  expect(
    stdout
      .trim()
      .split('\n')
      .map((line) => line.replace(/^sha256:\w+: /, '')),
  ).toEqual(['4 entries, 0 skipped', '3 entries, 1 skipped']);
  expect((await readdir(join(target, 'etc'))).sort()).toEqual(['kept', 'new']);
  expect(await readFile(join(target, 'link'), 'utf8')).toBe('kept');
  expect(await stat(join(target, 'etc/kept'))).toMatchObject({ uid: process.getuid!(), nlink: 2 });
});

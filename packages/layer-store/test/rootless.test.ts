/** A layer store of somebody without privilege: a user namespace, overlay with `userxattr`. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';

const able = spawnSync('unshare', ['--user', '--map-root-user', '--mount', 'true']).status === 0;
if (!able) process.stderr.write('a store without privilege is not tested: no user namespaces here\n');

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'tare-rootless-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

test.skipIf(!able)('images are unpacked, mounted and changed in a user namespace', () => {
  const program = join(import.meta.dirname, 'rootless-program.ts');
  const node = [process.execPath, '--conditions=@tare/source', program, root];
  const out = execFileSync('unshare', ['--user', '--map-root-user', '--mount', ...node]).toString();
  expect(JSON.parse(out)).toEqual({
    names: ['dir', 'linked'],
    dir: ['again'],
    linked: 'kept',
    changes: ['modify dir', 'add dir/again', 'delete dir/new', 'delete kept'],
  });
});

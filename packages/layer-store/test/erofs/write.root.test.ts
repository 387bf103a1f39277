/** Images that the kernel mounts. Needs root, and Linux 6.12 or a loop device. */
import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { layerFs } from '@tare/runtime-native/syscalls';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { writeErofs } from '../../src/erofs/write.ts';
import { applyLayer } from '../../src/index.ts';
import { TarBuilder } from '../../src/testing/index.ts';
import { isRoot } from '../apply/unpack.ts';

const able = isRoot && /\berofs\b/.test(readFileSync('/proc/filesystems', 'utf8'));
if (!able) process.stderr.write('EROFS images are not mounted: needs root and a kernel with EROFS\n');

let base: string;
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'tare-erofs-'));
});
afterEach(() => rmSync(base, { recursive: true, force: true }));

function image(tree: string, name: string): Buffer {
  const path = join(base, name);
  const fd = openSync(path, 'wx+');
  try {
    writeErofs(layerFs, tree, fd);
  } finally {
    closeSync(fd);
  }
  return readFileSync(path);
}

/** Everything about every name, and every content. */
const LOOK = `find . | LC_ALL=C sort | while IFS= read -r f; do stat -c '%n|%F|%a|%u:%g|%h|%t:%T|%s|%.9Y|%N' "$f"; done | sed -E '/\\|directory\\|/s/\\|[0-9]+(\\|[0-9.]+\\|[^|]*)$/\\1/'
  find . -type f | LC_ALL=C sort | tr '\\n' '\\0' | xargs -0 -r md5sum
  getfattr -R -d -m - -e hex . 2>/dev/null; true`;

function mounted(name: string): string {
  const script = `mount -t erofs -o ro ${join(base, name)} ${join(base, 'mnt')} 2>/dev/null || mount -t erofs -o ro,loop ${join(base, name)} ${join(base, 'mnt')}; cd ${join(base, 'mnt')} && { ${LOOK}\n}`;
  mkdirSync(join(base, 'mnt'), { recursive: true });
  return execFileSync('unshare', ['-m', 'sh', '-c', script], { maxBuffer: 1 << 28 }).toString();
}

test.skipIf(!able)('the kernel shows a tree as it was, whatever is in it', async () => {
  const tree = join(base, 'tree');
  mkdirSync(tree);
  const tar = new TarBuilder()
    .directory('./', { mode: 0o1711, uid: 4, gid: 5, mtimeNs: 1_000_000_000_000_000_001n })
    .directory('empty')
    .directory('many', { mode: 0o700 })
    .symlink('short', 'a/b')
    .symlink('long', 'x/'.repeat(2040))
    .entry('fifo', 'pipe', { mode: 0o600 })
    .entry('character-device', 'dev', { devMajor: 0xabc, devMinor: 0xdef12 })
    .entry('block-device', 'disk', { devMajor: 8, devMinor: 1 })
    .file('caps', 'x', {
      mode: 0o4755,
      uid: 70_000,
      gid: 4_000_000_000,
      xattrs: new Map([
        ['security.capability', Buffer.from('0100000200040000000000000000000000000000', 'hex')],
        ['user.large', Buffer.alloc(3000, 7)],
        ['user.name', Buffer.from('value')],
        ['trusted.other', Buffer.from([0, 255])],
      ]),
    })
    .directory('opaque')
    .file('opaque/.wh..wh..opq')
    .file('.wh.gone')
    .file('old', 'x', { mtimeNs: -1_500_000_000n })
    .file('zeros', Buffer.alloc(1_000_000))
    .file('first', 'hard')
    .hardlink('many/second', 'first')
    .file(`${'n'.repeat(255)}`, 'long name');
  for (let i = 0; i < 250; i++) tar.file(`many/${'file'.repeat(i % 20)}-${i}`, `${i}`);
  for (const size of [0, 1, 4031, 4032, 4033, 4095, 4096, 4097, 8192, 8193, 12_000, 2_500_000]) {
    tar.file(`size-${size}`, Buffer.alloc(size, `${size} `));
  }
  tar.file('-before-dot', '1').file('...', '2').directory('zz').directory('zz/deep').directory('zz/deep/er');
  await applyLayer(once(tar.build()), tree, { fs: layerFs });
  const before = execFileSync('sh', ['-c', `cd ${tree} && { ${LOOK}\n}`], { maxBuffer: 1 << 28 }).toString();
  image(tree, 'image');
  expect(mounted('image').split('\n')).toEqual(before.split('\n'));
});

test.skipIf(!able)('the same tree gives the same image, and an empty one a mountable one', () => {
  const tree = join(base, 'tree');
  mkdirSync(tree);
  expect(image(tree, 'a').equals(image(tree, 'b'))).toBe(true);
  expect(mounted('a')).toMatch(/^\.\|directory\|/);
});

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

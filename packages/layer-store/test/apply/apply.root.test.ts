/** What reaches the disk, compared with the archive and with what GNU tar makes of it. Needs root. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  closeSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { layerFs } from '@tare/runtime-native/syscalls';
import { describe, expect, test } from 'vitest';
import { applyLayer, type LayerFs } from '../../src/index.ts';
import { sha256, TarBuilder } from '../../src/testing/index.ts';
import { isRoot, native, needsRoot, Place } from './unpack.ts';

if (!isRoot) process.stderr.write(`unpacking is not tested: ${needsRoot}\n`);

/** An attribute of a file, through a descriptor of its directory. */
function xattr(place: Place, name: string, attribute: string): Buffer | undefined {
  const fd = layerFs.openat2(-100, place.root, { flags: 0o10000000, resolve: 0 });
  try {
    const value = layerFs.getxattrat(fd, name, attribute);
    return value === undefined ? undefined : Buffer.from(value);
  } finally {
    closeSync(fd);
  }
}

/** Everything about a tree that an archive can say, one line per path. */
function inventory(root: string): string[] {
  return execFileSync('find', ['.', '-printf', '%p %y %m %U:%G %n %s %T@ %l\n'], {
    cwd: root,
    encoding: 'utf8',
  })
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => (line.includes(' d ') ? line.replace(/ \d+ \d+ (\S+) $/, ' $1') : line))
    .sort();
}

describe.skipIf(!isRoot)('unpacking as root', () => {
  test('owners are those of the archive where new files have others by themselves', async () => {
    using place = new Place();
    chownSync(place.root, 0, 5);
    chmodSync(place.root, 0o2755);
    const tar = new TarBuilder()
      .directory('./')
      .directory('d')
      .file('d/f')
      .symlink('l', 'd')
      .file('implied/f', '', { uid: 7, gid: 8 });
    await place.unpack(tar.build());
    const owners = inventory(place.root).map((line) => /^(\S+) . \d+ (\d+:\d+)/.exec(line)!.slice(1));
    expect(owners).toEqual([
      ['.', '0:0'],
      ['./d', '0:0'],
      ['./d/f', '0:0'],
      ['./implied', '0:0'],
      ['./implied/f', '7:8'],
      ['./l', '0:0'],
    ]);
  });

  test('makes the tree that GNU tar makes', async () => {
    using place = new Place();
    using theirs = new Place();
    const tar = new TarBuilder()
      .directory('./', { mode: 0o755, mtimeNs: 5_000_000_000n })
      .directory('bin/', { mode: 0o755, mtimeNs: 1_000_000_001n })
      .file('bin/su', 'setuid', { mode: 0o4755, uid: 0, gid: 5, mtimeNs: 1_234_567_890_123_456_789n })
      .file('bin/sgid', 'setgid', { mode: 0o2711, uid: 1000, gid: 1000 })
      .directory('tmp', { mode: 0o1777, mtimeNs: 7_000_000_000n })
      .directory('home/', { mode: 0o755, mtimeNs: 8_000_000_000n })
      .directory('home/me', { mode: 0o700, uid: 1000, gid: 1001, mtimeNs: 9_000_000_000n })
      .file('home/me/big', Buffer.alloc(3_000_000, 'x'), { uid: 1000, gid: 1001, mode: 0o400 })
      .hardlink('home/me/again', 'home/me/big')
      .symlink('home/me/link', '/etc/passwd', { uid: 1000, gid: 1001, mtimeNs: 3_000_000_002n })
      .symlink('home/me/dangling', 'no\nwhere')
      .directory('dev/', { mtimeNs: 2_000_000_000n })
      .entry('character-device', 'dev/null', {
        devMajor: 1,
        devMinor: 3,
        mode: 0o666,
        mtimeNs: 4_000_000_000n,
      })
      .entry('block-device', 'dev/sda', { devMajor: 8, devMinor: 300_000, mode: 0o660, gid: 6 })
      .entry('fifo', 'dev/initctl', { mode: 0o600, uid: 3 })
      .file('ünï/\x7f', 'odd name')
      .file(`${'n'.repeat(200)}/${'m'.repeat(200)}`, 'long name')
      .build();
    await place.unpack(gzipSync(tar));
    execFileSync('tar', ['-xpf', '-', '--numeric-owner', '-C', theirs.root], { input: tar });
    const without = (lines: string[]): string[] =>
      // parents that the archive does not list: GNU tar gives them the present time
      lines.filter((line) => !/^\.\/(ünï|n+) /.test(line));
    expect(without(inventory(place.root))).toEqual(without(inventory(theirs.root)));
    expect(readFileSync(place.path('home/me/again'))).toEqual(Buffer.alloc(3_000_000, 'x'));
    expect(statSync(place.path('bin/su'), { bigint: true }).mtimeNs).toBe(1_234_567_890_123_456_789n);
    expect(lstatSync(place.path('dev/sda')).rdev).toBe(lstatSync(theirs.path('dev/sda')).rdev);
  });

  test('unpacks a real tree that GNU tar packed, and reports the diffID and sizes', async () => {
    using place = new Place();
    using again = new Place();
    const source = dirname(createRequire(import.meta.url).resolve('vitest/package.json'));
    const tar = execFileSync('tar', ['--format=posix', '-C', source, '-cf', '-', '.'], {
      maxBuffer: 2 ** 30,
    });
    const report = await place.unpack(zstdCompressSync(tar));
    execFileSync('tar', ['-xpf', '-', '--numeric-owner', '-C', again.root], { input: tar });
    expect(inventory(place.root)).toEqual(inventory(again.root));
    expect(execFileSync('diff', ['-r', '--no-dereference', source, place.root]).toString()).toBe('');
    expect(report).toMatchObject({ diffId: sha256(tar), archiveBytes: tar.length, impliedDirectories: [] });
    expect(report.inodes).toBe(inventory(place.root).length);
  });

  test('keeps file capabilities to the byte, also of files that are not owned by root', async () => {
    using place = new Place();
    // cap_net_raw=ep with a byte that is no UTF-8
    const capability = Buffer.from('0100000200200080000000000000000000000000', 'hex');
    const tar = new TarBuilder()
      .file('ping', 'x', { mode: 0o755, uid: 1000, xattrs: new Map([['security.capability', capability]]) })
      .hardlink('ping4', 'ping')
      .build();
    await place.unpack(tar);
    expect(xattr(place, 'ping', 'security.capability')).toEqual(capability);
    expect(xattr(place, 'ping4', 'security.capability')).toEqual(capability);
  });

  test('drops attributes that would forge overlay state or belong to another host', async () => {
    using place = new Place();
    const forged = [
      'trusted.overlay.redirect',
      'trusted.overlay.opaque',
      'trusted.overlay.metacopy',
      'trusted.overlay.overlay.whiteout',
      'user.overlay.opaque',
      'security.selinux',
    ];
    const xattrs = new Map([...forged, 'user.kept'].map((name) => [name, Buffer.from('/etc')]));
    const report = await place.unpack(
      new TarBuilder().directory('d', { xattrs }).file('f', '', { xattrs }).build(),
    );
    for (const name of ['d', 'f']) {
      for (const attribute of forged) expect(xattr(place, name, attribute)).toBeUndefined();
    }
    expect(xattr(place, 'f', 'user.kept')).toEqual(Buffer.from('/etc'));
    expect(report.skipped).toContainEqual({
      path: 'f',
      attribute: 'trusted.overlay.redirect',
      reason: 'policy',
    });
  });

  test('turns whiteouts into what overlay understands', async () => {
    using place = new Place();
    await place.unpack(
      new TarBuilder()
        .directory('etc')
        .file('etc/.wh.gone')
        .file('.wh.whole-directory')
        .directory('var/', { mode: 0o700 })
        .file('var/.wh..wh..opq')
        .file('var/new')
        .file('implied/.wh..wh..opq', 'with content')
        .directory('.wh.odd')
        .entry('character-device', 'raw')
        .file('.wh..wh.plnk/123')
        .file('.wh..wh.aufs', 'bookkeeping')
        .build(),
    );
    for (const name of ['etc/gone', 'whole-directory', 'odd', 'raw']) {
      expect(lstatSync(place.path(name))).toMatchObject({ rdev: 0 });
      expect(lstatSync(place.path(name)).isCharacterDevice()).toBe(true);
    }
    expect(xattr(place, 'var', 'trusted.overlay.opaque')).toEqual(Buffer.from('y'));
    expect(xattr(place, 'implied', 'trusted.overlay.opaque')).toEqual(Buffer.from('y'));
    expect(xattr(place, 'etc', 'trusted.overlay.opaque')).toBeUndefined();
    expect(readdirSync(place.path('var'))).toEqual(['new']);
    expect(readdirSync(place.path('implied'))).toEqual([]);
    expect(readdirSync(place.root).sort()).toEqual([
      'etc',
      'implied',
      'odd',
      'raw',
      'var',
      'whole-directory',
    ]);
  });

  test('a whiteout beside a member of its own layer means only what is below', async () => {
    using place = new Place();
    await place.unpack(
      new TarBuilder()
        .file('before', 'kept')
        .file('.wh.before')
        .file('.wh.after')
        .file('after', 'kept')
        .file('.wh.dir')
        .directory('dir')
        .directory('dir2')
        .file('.wh.dir2')
        .file('.wh.implied')
        .file('implied/x')
        .build(),
    );
    expect(readFileSync(place.path('before'), 'utf8')).toBe('kept');
    expect(readFileSync(place.path('after'), 'utf8')).toBe('kept');
    for (const name of ['dir', 'dir2', 'implied']) {
      expect(xattr(place, name, 'trusted.overlay.opaque')).toEqual(Buffer.from('y'));
    }
  });

  test('removes instead when unpacking into a plain directory, but nothing of the same layer', async () => {
    using place = new Place();
    const options = { ...native, whiteouts: 'remove' } as const;
    await place.unpack(
      new TarBuilder()
        .file('a/1', 'old')
        .file('a/2')
        .file('b/1')
        .file('b/sub/old')
        .file('c')
        .directory('d/e')
        .build(),
      options,
    );
    await place.unpack(
      new TarBuilder()
        .file('a/1', 'new')
        .file('a/.wh.2')
        .file('b/new')
        .file('b/sub/new')
        .file('b/.wh..wh..opq')
        .file('.wh.c')
        .file('.wh.d')
        .file('.wh.never-there')
        .build(),
      options,
    );
    expect(readFileSync(place.path('a/1'), 'utf8')).toBe('new');
    expect(
      execFileSync('find', ['.', '-type', 'f'], { cwd: place.root, encoding: 'utf8' })
        .trim()
        .split('\n')
        .sort(),
    ).toEqual(['./a/1', './b/new', './b/sub/new']);
    expect(readdirSync(place.root).sort()).toEqual(['a', 'b']);
  });

  test('keeps holes', async () => {
    using place = new Place();
    using source = new Place();
    execFileSync('sh', ['-c', 'truncate -s 50M f && printf data | dd of=f bs=1 seek=30000000 conv=notrunc'], {
      cwd: source.root,
      stdio: 'ignore',
    });
    await place.unpack(execFileSync('tar', ['-S', '-C', source.root, '-cf', '-', 'f']));
    const stat = statSync(place.path('f'));
    expect(stat.size).toBe(50 * 1024 * 1024);
    expect(stat.blocks * 512).toBeLessThan(100_000);
    execFileSync('cmp', [source.path('f'), place.path('f')]);
  });

  test('names the directories that no member lists, parents first', async () => {
    using place = new Place();
    const report = await place.unpack(
      new TarBuilder()
        .file('a/b/c')
        .directory('a/b', { mode: 0o700 })
        .file('x/y/z')
        .symlink('l', 'to')
        .file('l/f')
        .build(),
    );
    expect(report.impliedDirectories).toEqual(['', 'a', 'x', 'x/y', 'to']);
    expect(statSync(place.path('x/y'))).toMatchObject({ mode: 0o40755, uid: 0, gid: 0, mtimeMs: 0 });
    expect(readlinkSync(place.path('l'))).toBe('to');
  });

  test('refuses another diffID, and a directory that is not empty', async () => {
    using place = new Place();
    const tar = new TarBuilder().file('a').build();
    await expect(
      place.unpack(tar, { ...native, diffId: sha256(Buffer.from('other')) }),
    ).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
    writeFileSync(place.path('mine'), '');
    await expect(place.unpack(tar)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  test('the diffID covers what follows the end mark', async () => {
    using place = new Place();
    const tar = Buffer.concat([new TarBuilder().file('a').build(), Buffer.alloc(10_240, 'tail')]);
    const report = await place.unpack(gzipSync(tar), { ...native, diffId: sha256(tar) });
    expect(report.archiveBytes).toBe(tar.length);
  });

  test('devices and attributes that cannot be made are an error, or skipped and reported', async () => {
    using place = new Place();
    const refuse = (): never => {
      throw Object.assign(new Error('EPERM: operation not permitted'), { code: 'EPERM' });
    };
    const fs: LayerFs = { ...layerFs, mknodat: refuse, setxattrat: refuse };
    const xattrs = new Map([
      ['security.capability', Buffer.alloc(20)],
      ['user.note', Buffer.from('x')],
    ]);
    const tar = new TarBuilder().file('f', '', { xattrs }).entry('fifo', 'pipe').build();
    await expect(place.unpack(tar, { fs })).rejects.toMatchObject({ code: 'UNSUPPORTED' });
    using other = new Place();
    const report = await other.unpack(tar, { fs, unsupported: 'skip' });
    expect(report.skipped).toEqual([
      { path: 'f', attribute: 'security.capability', reason: 'unsupported' },
      { path: 'f', attribute: 'user.note', reason: 'unsupported' },
      { path: 'pipe', attribute: undefined, reason: 'unsupported' },
    ]);
  });

  test('a full disk is told with the name of the member', async () => {
    using place = new Place();
    const fs: LayerFs = {
      ...layerFs,
      mkdirat: () => {
        throw Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' });
      },
    };
    await expect(place.unpack(new TarBuilder().directory('dir').build(), { fs })).rejects.toMatchObject({
      code: 'IO_ERROR',
      message: expect.stringContaining('"dir"'),
      cause: { code: 'ENOSPC' },
    });
  });

  test('an abort stops in the middle, with the reason of the signal', async () => {
    using place = new Place();
    const controller = new AbortController();
    const tar = new TarBuilder().file('a', Buffer.alloc(4_000_000)).file('b').build();
    mkdirSync(place.path('sub'));
    const work = applyLayer(
      (async function* () {
        yield tar.subarray(0, 1_000_000);
        controller.abort(new Error('enough'));
        yield tar.subarray(1_000_000);
      })(),
      place.path('sub'),
      { ...native, signal: controller.signal },
    );
    await expect(work).rejects.toThrow('enough');
    expect(readdirSync(place.path('sub'))).not.toContain('b');
  });
});

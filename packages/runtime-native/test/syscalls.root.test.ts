import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  statfsSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';

import { afterEach, beforeEach, expect, test } from 'vitest';

import { AT_FDCWD, RESOLVE, layerFs, renameat2 } from '../src/syscalls.ts';
import { describeAsRoot } from './root.ts';

const { O_CREAT, O_DIRECTORY, O_RDONLY, O_WRONLY, S_IFBLK, S_IFCHR, S_IFIFO } = constants;

describeAsRoot('the file-system calls of layers', () => {
  let folder: string;
  let dirfd: number;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'tare-syscalls-'));
    dirfd = openSync(folder, O_RDONLY | O_DIRECTORY);
  });
  afterEach(() => {
    closeSync(dirfd);
    rmSync(folder, { recursive: true });
  });

  test('stay inside the root, whatever links say', () => {
    mkdirSync(join(folder, 'etc'));
    writeFileSync(join(folder, 'etc/passwd'), 'inside');
    symlinkSync('/etc', join(folder, 'absolute'));
    symlinkSync('../../../../../../etc', join(folder, 'relative'));
    for (const path of ['absolute/passwd', 'relative/passwd', '../../etc/passwd', '/etc/passwd']) {
      const fd = layerFs.openat2(dirfd, path, { flags: O_RDONLY, resolve: RESOLVE.IN_ROOT });
      expect(readFileSync(fd, 'utf8')).toBe('inside');
      closeSync(fd);
    }
    expect(() =>
      layerFs.openat2(dirfd, 'absolute/passwd', { flags: O_RDONLY, resolve: RESOLVE.BENEATH }),
    ).toThrowError(
      expect.objectContaining({ code: 'EXDEV', syscall: 'openat2', path: 'absolute/passwd', errno: -18 }),
    );
    expect(() =>
      layerFs.openat2(dirfd, 'absolute/passwd', { flags: O_RDONLY, resolve: RESOLVE.NO_SYMLINKS }),
    ).toThrowError(expect.objectContaining({ code: 'ELOOP' }));
  });

  test('create files with their mode, and close them at exec', () => {
    const fd = layerFs.openat2(dirfd, 'new', { flags: O_WRONLY | O_CREAT, mode: 0o640, resolve: 0 });
    expect(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8')).toMatch(/^flags:\s*0?2\d{6}$/m);
    closeSync(fd);
    expect(statSync(join(folder, 'new')).mode & 0o777).toBe(0o640);
  });

  test('make directories, devices, pipes and links', () => {
    layerFs.mkdirat(dirfd, 'directory', 0o700);
    layerFs.mknodat(dirfd, 'null', S_IFCHR | 0o666, 1, 3);
    layerFs.mknodat(dirfd, 'disk', S_IFBLK | 0o600, 259, 300_000);
    layerFs.mknodat(dirfd, 'pipe', S_IFIFO | 0o600, 0, 0);
    layerFs.symlinkat('no/where', dirfd, 'link');
    layerFs.linkat(dirfd, 'link', dirfd, 'hard');
    expect(lstatSync(join(folder, 'directory')).isDirectory()).toBe(true);
    expect(lstatSync(join(folder, 'null')).isCharacterDevice()).toBe(true);
    expect(lstatSync(join(folder, 'null')).rdev).toBe((1 << 8) | 3);
    expect(lstatSync(join(folder, 'disk')).isBlockDevice()).toBe(true);
    expect(lstatSync(join(folder, 'pipe')).isFIFO()).toBe(true);
    expect(readlinkSync(join(folder, 'hard'))).toBe('no/where');
    expect(lstatSync(join(folder, 'link')).nlink).toBe(2);
    layerFs.unlinkat(dirfd, 'directory', true);
    layerFs.unlinkat(dirfd, 'link', false);
    expect(() => layerFs.unlinkat(dirfd, 'directory', true)).toThrowError(
      expect.objectContaining({ code: 'ENOENT' }),
    );
  });

  test('change a link itself, not what it points to', () => {
    writeFileSync(join(folder, 'target'), '');
    symlinkSync('target', join(folder, 'link'));
    layerFs.fchownat(dirfd, 'link', 1234, 4_294_967_294);
    layerFs.utimensat(dirfd, 'link', 1_000_000_001n, -1_500_000_000n);
    const link = lstatSync(join(folder, 'link'), { bigint: true });
    expect([link.uid, link.gid]).toEqual([1234n, 4_294_967_294n]);
    expect([link.atimeNs, link.mtimeNs]).toEqual([1_000_000_001n, -1_500_000_000n]);
    expect(statSync(join(folder, 'target')).uid).toBe(0);
    expect(() => layerFs.fchmodat(dirfd, 'link', 0o777)).toThrowError(
      expect.objectContaining({ code: 'ENOTSUP' }),
    );
  });

  test('set modes with the set-id bits', () => {
    writeFileSync(join(folder, 'file'), '');
    layerFs.fchmodat(dirfd, 'file', 0o6755);
    expect(statSync(join(folder, 'file')).mode & 0o7777).toBe(0o6755);
  });

  test('read, write and list extended attributes, also large ones and on links', () => {
    writeFileSync(join(folder, 'file'), '');
    symlinkSync('nowhere', join(folder, 'link'));
    const large = new Uint8Array(3000).fill(7);
    layerFs.setxattrat(dirfd, 'file', 'user.empty', new Uint8Array());
    layerFs.setxattrat(dirfd, 'file', 'user.large', large);
    layerFs.setxattrat(dirfd, 'link', 'trusted.link', Buffer.from('value'));
    expect(layerFs.getxattrat(dirfd, 'file', 'user.large')).toEqual(Buffer.from(large));
    expect(layerFs.getxattrat(dirfd, 'file', 'user.empty')).toEqual(Buffer.alloc(0));
    expect(layerFs.getxattrat(dirfd, 'file', 'user.none')).toBeUndefined();
    expect(layerFs.listxattrat(dirfd, 'file').toSorted()).toEqual(['user.empty', 'user.large']);
    expect(layerFs.listxattrat(dirfd, 'link')).toContain('trusted.link');
    expect(String(layerFs.getxattrat(dirfd, 'link', 'trusted.link'))).toBe('value');
    expect(() => layerFs.getxattrat(dirfd, 'absent', 'user.x')).toThrowError(
      expect.objectContaining({ code: 'ENOENT', path: 'absent' }),
    );
  });

  test('take names that are not UTF-8', () => {
    const name = Uint8Array.of(0xff, 0xfe, 0x41);
    layerFs.mkdirat(dirfd, name, 0o755);
    layerFs.setxattrat(dirfd, name, 'user.a', Buffer.from('b'));
    expect(String(layerFs.getxattrat(dirfd, name, 'user.a'))).toBe('b');
    layerFs.unlinkat(dirfd, name, true);
  });

  test('refuse a NUL in a name, and arguments of another type, without touching anything', () => {
    expect(() => layerFs.mkdirat(dirfd, 'a\0b', 0o755)).toThrowError(TypeError);
    expect(() => layerFs.mkdirat(-1, 'a', 0o755)).toThrowError(TypeError);
    expect(() => layerFs.mkdirat(dirfd, 7 as unknown as string, 0o755)).toThrowError(TypeError);
    expect(() => layerFs.utimensat(dirfd, 'a', 1 as unknown as bigint, 1n)).toThrowError(TypeError);
  });

  test('make a file with all that there is to know of it, and never in place of something', () => {
    const times = { atimeNs: -1_500_000_000n, mtimeNs: 1_234_567_890_123_456_789n };
    const attributes = { mode: 0o4751, owner: { uid: 7, gid: 8 }, ...times };
    layerFs.createFile(dirfd, 'file', Buffer.from('content'), attributes);
    const stat = lstatSync(join(folder, 'file'), { bigint: true });
    expect(stat).toMatchObject({ mode: 0o104751n, uid: 7n, gid: 8n, ...times });
    expect(readFileSync(join(folder, 'file'), 'utf8')).toBe('content');
    layerFs.createFile(dirfd, Uint8Array.of(0xff), new Uint8Array(), { ...times, mode: 0o600 });
    symlinkSync('absent', join(folder, 'link'));
    mkdirSync(join(folder, 'd'));
    symlinkSync('d', join(folder, 'to-d'));
    for (const [name, code] of [
      ['file', 'EEXIST'],
      ['link', 'EEXIST'],
      ['d', 'EEXIST'],
      ['to-d/f', 'ELOOP'],
      ['../f', 'EXDEV'],
      ['absent/f', 'ENOENT'],
    ]) {
      expect(() => layerFs.createFile(dirfd, name!, Buffer.from('x'), attributes)).toThrowError(
        expect.objectContaining({ code, syscall: 'openat2', path: name }),
      );
    }
    expect(() => layerFs.createFile(dirfd, 'f', 'text' as unknown as Uint8Array, attributes)).toThrowError(
      TypeError,
    );
    expect(readdirSync(folder).length).toBe(5);
  });

  test('make files of the maker as they are to be, whatever the directory and the umask give them', () => {
    mkdirSync(join(folder, 'd'));
    chownSync(join(folder, 'd'), 0, 8);
    chmodSync(join(folder, 'd'), 0o2755);
    const times = { atimeNs: 1n, mtimeNs: 2n };
    const before = process.umask(0o077);
    try {
      for (const [i, [mode, owner]] of [
        [0o666, { uid: 0, gid: 0 }],
        [0o2755, { uid: 0, gid: 0 }],
        [0o4755, { uid: 0, gid: 8 }],
        [0o644, { uid: 0, gid: 8 }],
        [0o644, { uid: 9, gid: 0 }],
      ].entries() as Iterable<[number, [number, { uid: number; gid: number }]]>) {
        layerFs.createFile(dirfd, `d/${i}`, Buffer.from('x'), { mode, owner, ...times });
        expect(statSync(join(folder, `d/${i}`))).toMatchObject({ mode: 0o100000 | mode, ...owner });
      }
      layerFs.createFile(dirfd, 'd/own', Buffer.from('x'), { mode: 0o640, ...times });
      expect(statSync(join(folder, 'd/own'))).toMatchObject({ mode: 0o100640, uid: 0, gid: 8 });
    } finally {
      process.umask(before);
    }
  });

  test('make files on a thread of their own, in the order in which they come', () => {
    const times = { atimeNs: -1_500_000_000n, mtimeNs: 1_234_567_890_123_456_789n };
    const attributes = { mode: 0o4751, owner: { uid: 7, gid: 8 }, ...times };
    using queue = layerFs.fileQueue();
    expect(queue.settle()).toBeUndefined();
    mkdirSync(join(folder, 'd'));
    symlinkSync('d', join(folder, 'link'));
    const inside = openSync(join(folder, 'd'), O_RDONLY | O_DIRECTORY);
    const content = Buffer.alloc(20_000);
    for (let i = 0; i < 2000; i++) {
      content.fill(i);
      expect(queue.add(inside, `f${i % 1000}`, content, attributes)).toBe(true);
    }
    closeSync(inside);
    expect(queue.add(dirfd, 'link', Buffer.from('in its place'), attributes)).toBe(true);
    expect(queue.settle()).toBeUndefined();
    for (let i = 0; i < 1000; i++) {
      const path = join(folder, `d/f${i}`);
      expect(statSync(path, { bigint: true })).toMatchObject({ mode: 0o104751n, uid: 7n, gid: 8n, ...times });
      expect(readFileSync(path).equals(Buffer.alloc(20_000, i + 1000))).toBe(true);
    }
    expect(readFileSync(join(folder, 'link'), 'utf8')).toBe('in its place');
    queue.add(dirfd, 'last', content, attributes);
    queue.add(dirfd, 'd', content, attributes);
    queue.add(dirfd, 'never', content, attributes);
    const failed = { number: 2002, error: { code: 'EEXIST', syscall: 'openat2', path: 'd' } };
    expect(queue.settle()).toMatchObject(failed);
    expect(queue.add(dirfd, 'never', content, attributes)).toBe(false);
    expect(queue.settle()).toMatchObject(failed);
    expect(readdirSync(folder).sort()).toEqual(['d', 'last', 'link']);
    expect(() => queue.add(dirfd, 'f', 'text' as unknown as Uint8Array, attributes)).toThrowError(TypeError);
    expect(() => queue.add(99_999, 'f', content, attributes)).toThrowError(
      expect.objectContaining({ code: 'EBADF' }),
    );
  });

  test('hash on a thread of its own, whatever the pieces and when it is given up', () => {
    for (const algorithm of ['sha256', 'sha512'] as const) {
      using hash = layerFs.hashThread(algorithm)!;
      const expected = createHash(algorithm);
      // two that are filled by turns, as the contract has it
      const pieces = [Buffer.alloc(300_000), Buffer.alloc(300_000)];
      for (let i = 0; i < 200; i++) {
        const piece = pieces[i % 2]!.fill(i).subarray(0, (i * 7919) % 300_000);
        hash.update(piece);
        expected.update(piece);
      }
      expect(hash.digest()).toBe(expected.digest('hex'));
      expect(() => hash.update(Buffer.from('more'))).toThrowError(
        expect.objectContaining({ code: 'EINVAL' }),
      );
      expect(() => hash.digest()).toThrowError(expect.objectContaining({ code: 'EINVAL' }));
    }
    using empty = layerFs.hashThread('sha256')!;
    expect(empty.digest()).toBe(createHash('sha256').digest('hex'));
    const threads = readdirSync('/proc/self/task').length;
    for (let i = 0; i < 50; i++) {
      using given = layerFs.hashThread('sha256')!;
      given.update(Buffer.alloc(1_000_000));
    }
    expect(readdirSync('/proc/self/task').length).toBe(threads);
    expect(() => empty.update('text' as unknown as Uint8Array)).toThrowError(TypeError);
  });

  test('read plain files whole, and touch nothing else', () => {
    const into = Buffer.alloc(16);
    const read = (name: string | Uint8Array, resolve: number = RESOLVE.BENEATH) =>
      layerFs.readPlainFile(dirfd, name, resolve, into);
    const times = { atimeNs: 0n, mtimeNs: -1n };
    layerFs.createFile(dirfd, 'file', Buffer.from('content'), {
      mode: 0o640,
      owner: { uid: 7, gid: 8 },
      ...times,
    });
    expect(read('file')).toEqual({ mode: 0o100640, uid: 7, gid: 8, size: 7, mtimeNs: -1n });
    expect(into.toString('latin1', 0, 7)).toBe('content');
    layerFs.createFile(dirfd, 'full', Buffer.alloc(16, 'x'), { mode: 0o600, ...times });
    expect(read('full')).toMatchObject({ size: 16 });
    layerFs.createFile(dirfd, 'larger', Buffer.alloc(17), { mode: 0o600, ...times });
    writeFileSync(join(folder, 'noted'), '');
    layerFs.setxattrat(dirfd, 'noted', 'user.note', Buffer.from('x'));
    symlinkSync('file', join(folder, 'link'));
    mkdirSync(join(folder, 'd'));
    layerFs.mknodat(dirfd, 'null', S_IFCHR | 0o666, 1, 3);
    layerFs.mknodat(dirfd, 'pipe', S_IFIFO | 0o666, 0, 0);
    writeFileSync(join(folder, 'twice'), '');
    layerFs.linkat(dirfd, 'twice', dirfd, 'again');
    for (const name of [
      'larger',
      'noted',
      'link',
      'd',
      'null',
      'pipe',
      'twice',
      'again',
      'absent',
      '../file',
    ])
      expect(read(name), name).toBeUndefined();
    expect(() => layerFs.readPlainFile(dirfd, 'file', 0, 'x' as unknown as Uint8Array)).toThrowError(
      TypeError,
    );
  });

  test('rename without replacing, and swap', () => {
    writeFileSync(join(folder, 'one'), '1');
    writeFileSync(join(folder, 'two'), '2');
    expect(() => renameat2(dirfd, 'one', dirfd, 'two', { noReplace: true })).toThrowError(
      expect.objectContaining({ code: 'EEXIST' }),
    );
    renameat2(dirfd, 'one', dirfd, 'two', { exchange: true });
    expect(readFileSync(join(folder, 'one'), 'utf8')).toBe('2');
    layerFs.syncfs(dirfd);
  });

  test('ask for directories far from each other, where the file system can', ({ annotate }) => {
    const fd = openSync(folder, O_RDONLY | O_DIRECTORY);
    const taken = layerFs.spreadSubdirectories(fd);
    expect(layerFs.spreadSubdirectories(fd)).toBe(taken);
    closeSync(fd);
    expect(() => layerFs.spreadSubdirectories(fd)).toThrowError(expect.objectContaining({ code: 'EBADF' }));
    // by its magic number in statfs(2)
    if (statfsSync(folder).type === 0xef53) expect(taken).toBe(true);
    const lsattr = spawnSync('lsattr', ['-d', folder], { encoding: 'utf8' });
    if (lsattr.status !== 0) return annotate('not looked at: no lsattr of e2fsprogs, or nothing for it');
    expect(lsattr.stdout.split(' ')[0]!.includes('T')).toBe(taken);
  });

  test('work relative to the current directory', () => {
    layerFs.mkdirat(AT_FDCWD, join(folder, 'here'), 0o755);
    expect(statSync(join(folder, 'here')).isDirectory()).toBe(true);
  });

  test('work in several worker threads at once, and after they ended', async () => {
    const script = `
      import { parentPort, workerData } from 'node:worker_threads';
      const { layerFs } = await import(workerData.module);
      const { watchReadable, socketpair } = await import(workerData.index);
      for (let i = 0; i < 100; i++) layerFs.mkdirat(workerData.dirfd, workerData.name + i, 0o755);
      // still watching when the worker ends
      watchReadable(socketpair('stream')[0], () => {});
      parentPort.postMessage('done');
    `;
    const run = (name: string): Promise<number> =>
      new Promise((resolve, reject) => {
        const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(script)}`), {
          workerData: {
            dirfd,
            name,
            module: new URL('../src/syscalls.ts', import.meta.url).href,
            index: new URL('worker-imports.ts', import.meta.url).href,
          },
        });
        worker.once('message', () => void worker.terminate());
        worker.once('error', reject);
        worker.once('exit', resolve);
      });
    await Promise.all(['a', 'b', 'c'].map(run));
    for (const name of ['a99', 'b99', 'c99']) expect(statSync(join(folder, name)).isDirectory()).toBe(true);
    layerFs.mkdirat(dirfd, 'after', 0o755);
  });
});

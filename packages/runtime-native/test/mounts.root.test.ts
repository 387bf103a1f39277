import {
  chownSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, describe, expect, test } from 'vitest';

import { mount, mountAt, mountTable, openMount, parseMountInfo, unmount } from '../src/mounts.ts';
import { createUserNamespace, removeUserNamespace } from '../src/user-namespace.ts';
import { describeAsRoot, kernelHas } from './root.ts';

describeAsRoot('mounting', () => {
  let folder: string;
  const at = (...parts: string[]): string => join(folder, ...parts);
  const make = (...names: string[]): void => {
    for (const name of names) mkdirSync(at(name), { recursive: true });
  };
  const mounted = (target: string) => mountTable().find((one) => one.target === target);

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'tare-mounts-'));
    // overlayfs takes no upper directory on another overlay, which the temporary folder may be on
    mountAt({ type: 'tmpfs', source: 'tare', options: ['size=16m', 'mode=755'] }, folder);
    make('target');
  });
  afterEach(() => {
    while (unmount(at('target'), { lazy: true })) {
      // one mount after another
    }
    unmount(folder, { lazy: true });
    rmSync(folder, { recursive: true });
    expect(mountTable().some(({ target }) => target.startsWith(folder))).toBe(false);
  });

  test('a bind mount has the flags that were asked for', () => {
    make('source');
    writeFileSync(at('source/file'), 'x');
    mountAt(
      { type: 'bind', source: at('source'), options: ['rbind', 'ro', 'nosuid', 'private'] },
      at('target'),
    );
    expect(readFileSync(at('target/file'), 'utf8')).toBe('x');
    expect(() => writeFileSync(at('target/new'), '')).toThrow('EROFS');
    const found = mounted(at('target'))!;
    expect(found.options).toEqual(expect.arrayContaining(['ro', 'nosuid']));
    expect(found.propagation).toEqual([]);
    expect(unmount(at('target'))).toBe(true);
    expect(unmount(at('target'))).toBe(false);
    expect(unmount(at('absent'))).toBe(false);
  });

  test('a mount that is only opened is seen by nobody else, and ends with its descriptor', () => {
    make('one', 'two', 'upper', 'work', 'one/dir');
    writeFileSync(at('one/dir/file'), '1');
    writeFileSync(at('two/file'), '2');
    const before = mountTable().length;
    const overlay = openMount({
      type: 'overlay',
      source: 'overlay',
      options: [`lowerdir=${at('one')}:${at('two')}`],
    });
    const bind = openMount({ type: 'bind', source: at('one'), options: ['rbind', 'ro'] });
    try {
      expect(readFileSync(`/proc/self/fd/${overlay}/dir/file`, 'utf8')).toBe('1');
      expect(readFileSync(`/proc/self/fd/${overlay}/file`, 'utf8')).toBe('2');
      expect(readFileSync(`/proc/self/fd/${bind}/dir/file`, 'utf8')).toBe('1');
      expect(() => writeFileSync(`/proc/self/fd/${bind}/new`, '')).toThrow('EROFS');
      expect(mountTable()).toHaveLength(before);
    } finally {
      closeSync(overlay);
      closeSync(bind);
    }
    expect(() => openMount({ type: 'tmpfs', source: 'x', options: [] })).toThrow('EINVAL');
    expect(() => openMount({ type: 'bind', source: at('absent'), options: [] })).toThrow('ENOENT');
    expect(() => openMount({ type: 'overlay', source: 'x', options: ['lowerdir=/absent:/one'] })).toThrow();
    expect(mountTable()).toHaveLength(before);
  });

  test('an overlay shows its layers, the topmost first', () => {
    make('one', 'two', 'upper', 'work');
    writeFileSync(at('one/same'), '1');
    writeFileSync(at('two/same'), '2');
    writeFileSync(at('two/below'), '2');
    mountAt(
      {
        type: 'overlay',
        source: 'overlay',
        options: [
          `lowerdir=${at('one')}`,
          `lowerdir=${at('two')}`,
          `upperdir=${at('upper')}`,
          `workdir=${at('work')}`,
        ],
      },
      at('target'),
    );
    expect(readFileSync(at('target/same'), 'utf8')).toBe('1');
    expect(readFileSync(at('target/below'), 'utf8')).toBe('2');
    writeFileSync(at('target/new'), 'n');
    expect(readFileSync(at('upper/new'), 'utf8')).toBe('n');
  });

  test('an overlay of more layers than fit mount(2) works too', () => {
    const layers = Array.from({ length: 120 }, (_, index) => `a-rather-long-name-of-a-layer-${index}`);
    make(...layers, 'upper', 'work');
    layers.forEach((name) => writeFileSync(at(name, name), ''));
    const options = [
      `lowerdir=${layers.map((name) => at(name)).join(':')}`,
      `upperdir=${at('upper')}`,
      `workdir=${at('work')}`,
      'index=off',
    ];
    expect(options.join(',').length).toBeGreaterThan(4096);
    mountAt({ type: 'overlay', source: 'overlay', options: [...options, 'nodev'] }, at('target'));
    for (const name of layers) expect(existsSync(at('target', name))).toBe(true);
    expect(mounted(at('target'))!.options).toContain('nodev');
  });

  const onTmpfs = kernelHas(6, 3) ? '' : ' (on a tmpfs: needs Linux 6.3)';
  test.skipIf(onTmpfs !== '')(`a mount shows other owners, and writes them back${onTmpfs}`, async () => {
    make('layers/one', 'layers/two', 'layers/upper', 'layers/work');
    writeFileSync(at('layers/one/file'), '1');
    writeFileSync(at('layers/two/below'), '2');
    chownSync(at('layers/two/below'), 7, 8);
    const maps = {
      uidMappings: [{ containerID: 0, hostID: 100_000, size: 1000 }],
      gidMappings: [{ containerID: 0, hostID: 200_000, size: 1000 }],
    };
    await createUserNamespace(at('user'), maps);
    const map = `X-mount.idmap=${at('user')}`;
    const ownersOf = (path: string) => [statSync(path).uid, statSync(path).gid];
    try {
      const before = mountTable().length;
      const lower = `lowerdir=${at('layers/one')}:${at('layers/two')}`;
      mountAt({ type: 'overlay', source: 'overlay', options: [lower, map] }, at('target'));
      expect(ownersOf(at('target/file'))).toEqual([100_000, 200_000]);
      expect(ownersOf(at('target/below'))).toEqual([100_007, 200_008]);
      expect(mountTable().length).toBe(before + 1);
      unmount(at('target'));

      const upper = [`upperdir=${at('layers/upper')}`, `workdir=${at('layers/work')}`];
      expect(() =>
        mountAt({ type: 'overlay', source: 'overlay', options: [lower, ...upper, map] }, at('target')),
      ).toThrow('EINVAL');

      expect(() => mountAt({ type: 'bind', source: '/proc', options: ['rbind', map] }, at('target'))).toThrow(
        'EINVAL: this kernel cannot map owners in the file system at /proc',
      );

      const bind = { type: 'bind', source: at('layers/two') };
      mountAt({ ...bind, options: ['rbind', map] }, at('target'));
      chownSync(at('target/below'), 100_001, 200_002);
      expect(ownersOf(at('layers/two/below'))).toEqual([1, 2]);
      expect(() => chownSync(at('target/below'), 5, 6)).toThrow('EOVERFLOW');
      unmount(at('target'));
      mountAt({ ...bind, options: ['rbind', 'ro', map] }, at('target'));
      expect(() => writeFileSync(at('target/below'), '')).toThrow('EROFS');
      const opened = openMount({ type: 'bind', source: at('layers/two'), options: ['rbind', map] });
      expect(ownersOf(`/proc/self/fd/${opened}/below`)).toEqual([100_001, 200_002]);
      closeSync(opened);

      const absent = { type: 'bind', source: at('layers/two'), options: ['X-mount.idmap=/absent'] };
      expect(() => mountAt(absent, at('target'))).toThrow('ENOENT');
      expect(() => mountAt({ type: 'tmpfs', source: 'x', options: [map] }, at('target'))).toThrow('EINVAL');
      expect(mountTable().length).toBe(before + 1);
    } finally {
      await removeUserNamespace(at('user'));
    }
  });

  test('several mounts are undone when a later one fails', () => {
    make('source');
    const bind = { type: 'bind', source: at('source'), options: [] };
    expect(() => mount([bind, bind, { ...bind, source: at('absent') }], at('target'))).toThrowError(
      expect.objectContaining({ code: 'ENOENT', syscall: 'mount', path: at('target') }),
    );
    expect(mounted(at('target'))).toBeUndefined();
  });
});

describe('the table of mounts', () => {
  test('is read with its escapes and optional fields', () => {
    const line =
      '36 35 98:0 /mnt1 /mnt\\0402\\134x rw,noatime master:1 shared:7 - ext3 /dev/ro\\011ot rw,errors=continue\n';
    expect(parseMountInfo(line)).toEqual([
      {
        id: 36,
        parentId: 35,
        device: '98:0',
        root: '/mnt1',
        target: '/mnt 2\\x',
        options: ['rw', 'noatime'],
        propagation: ['master:1', 'shared:7'],
        type: 'ext3',
        source: '/dev/ro\tot',
        superOptions: ['rw', 'errors=continue'],
      },
    ]);
    expect(() => parseMountInfo('nonsense')).toThrowError(TypeError);
  });
});

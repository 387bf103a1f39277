import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { execFileSync } from 'node:child_process';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { readFromLayers } from '../../src/containers/root-files.ts';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'tare-root-'));
});
afterEach(() => rm(root, { recursive: true, force: true }));

const write = (path: string, text: string): void => {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), text);
};
const link = (target: string, path: string): void => {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  symlinkSync(target, join(root, path));
};
const opaque = new Set<string>();
const read = (path = '/etc/passwd') =>
  readFromLayers(
    [
      {
        type: 'overlay',
        source: 'overlay',
        options: [`lowerdir=${root}/mid:${root}/low`, `upperdir=${root}/up`, `workdir=${root}/work`],
      },
    ],
    path,
    { isOpaque: (directory) => opaque.has(directory.slice(root.length)) },
  );

describe('readFromLayers', () => {
  it('takes the topmost file', () => {
    write('low/etc/passwd', 'low');
    expect(read()).toBe('low');
    write('mid/etc/passwd', 'mid');
    expect(read()).toBe('mid');
    write('up/etc/passwd', 'up');
    expect(read()).toBe('up');
  });

  it('finds nothing where there is nothing', () => {
    expect(read()).toBeUndefined();
  });

  it('sees nothing below an opaque directory', () => {
    write('low/etc/passwd', 'low');
    write('up/etc/other', '');
    opaque.add('/up/etc');
    expect(read()).toBeUndefined();
    opaque.clear();
    expect(read()).toBe('low');
  });

  it('follows links inside the root, absolute ones too', () => {
    write('low/real/passwd', 'real');
    link('/real/passwd', 'mid/etc/passwd');
    expect(read()).toBe('real');
    link('../../../../real', 'mid/var/etc');
    expect(read('/var/etc/passwd')).toBe('real');
  });

  it('never leaves the root by a link', () => {
    writeFileSync(join(root, 'secret'), 'host');
    link(`${root}/secret`, 'low/etc/passwd');
    expect(read()).toBeUndefined();
    link('../../secret', 'low/etc/group');
    expect(read('/etc/group')).toBeUndefined();
  });

  it('gives up on links that go in circles', () => {
    link('b', 'low/etc/a');
    link('a', 'low/etc/b');
    expect(read('/etc/a')).toBeUndefined();
  });

  it('refuses a file that is meant to fill the memory', () => {
    write('low/etc/passwd', 'x'.repeat(1024 * 1024 + 1));
    expect(() => read()).toThrow('larger than 1 MiB');
  });

  it('reads regular files only, and does not wait for a FIFO', () => {
    mkdirSync(join(root, 'low/etc'), { recursive: true });
    execFileSync('mkfifo', [join(root, 'low/etc/passwd')]);
    expect(read()).toBeUndefined();
  });
});

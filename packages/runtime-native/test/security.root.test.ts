/** Escapes that other runtimes had: each test does the attack, or looks for what made it possible. */
import {
  closeSync,
  constants,
  mkdirSync,
  openSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { join } from 'node:path';

import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';

import { getSeals } from '../src/process.ts';
import { collect, runToEnd, shellSpec } from '../src/testing/index.ts';
import { describeContainers, leftovers, makeLab } from './rootfs.ts';
import type { Lab } from './rootfs.ts';

describeContainers('a container', () => {
  let lab: Lab;
  beforeAll(() => {
    lab = makeLab();
  });
  afterEach(() => expect(leftovers(lab)).toEqual([]));
  afterAll(() => lab.dispose());

  const monitorOf = (id: string): number =>
    (JSON.parse(readFileSync(join(lab.stateDirectory, id, 'pid'), 'utf8')) as { monitorPid: number })
      .monitorPid;

  // CVE-2019-5736
  it('cannot overwrite the helper that it sees before it is started', async () => {
    const container = await lab.runtime.create('c', { spec: shellSpec(lab.rootfs, 'true') });
    for (const pid of [container.pid, monitorOf('c')]) {
      const exe = `/proc/${pid}/exe`;
      expect(readlinkSync(exe)).toMatch(/^\/memfd:/);
      expect(() => openSync(exe, constants.O_WRONLY)).toThrow(/ETXTBSY|EPERM|EACCES/);
      const fd = openSync(exe, constants.O_RDONLY);
      // seal, shrink, grow, write, exec (Linux 6.3)
      expect(getSeals(fd) & 0x0f).toBe(0x0f);
      closeSync(fd);
    }
    await container.delete({ force: true });
  });

  // CVE-2024-21626
  it('cannot take a descriptor of the host as its working directory', async () => {
    const other = await lab.runtime.create('other', { spec: shellSpec(lab.rootfs, 'sleep 1000') });
    await other.start();
    for (let fd = 0; fd < 16; fd++) {
      const cwd = `/proc/self/fd/${fd}`;
      const spec = shellSpec(lab.rootfs, 'ls ..; pwd', (changed) => (changed.process!.cwd = cwd));
      await expect(runToEnd(lab.runtime, 'c', { spec })).rejects.toMatchObject({ code: 'SETUP_FAILED' });
      await expect(other.exec({ args: ['pwd'], env: ['PATH=/bin'], cwd })).rejects.toMatchObject({
        code: 'SETUP_FAILED',
      });
    }
    await other.delete({ force: true });
  });

  it('passes no descriptor to an exec either', async () => {
    const container = await lab.runtime.create('c', { spec: shellSpec(lab.rootfs, 'sleep 1000') });
    await container.start();
    await using process = await container.exec({ args: ['ls', '/proc/self/fd'], env: ['PATH=/bin'] });
    // 3 is the directory that ls reads
    expect((await collect(await process.attach())).stdout).toBe('0\n1\n2\n3\n');
    await container.delete({ force: true });
  });

  // CVE-2026-55686 and its like: a link as the working directory
  it('makes its working directory inside, wherever a link leads', async () => {
    const outside = join(lab.directory, 'outside-cwd');
    mkdirSync(outside);
    symlinkSync(outside, join(lab.rootfs, 'link'));
    const spec = shellSpec(lab.rootfs, 'pwd', (changed) => (changed.process!.cwd = '/link/deep'));
    await expect(runToEnd(lab.runtime, 'c', { spec })).rejects.toMatchObject({ errnoCode: 'ENOENT' });
    expect(() => statSync(join(outside, 'deep'))).toThrow('ENOENT');
  });

  // CVE-2022-24769 and its like
  it('and its execs have nothing in the inheritable set', async () => {
    const script = 'grep CapInh /proc/self/status; sleep 1000';
    const container = await lab.runtime.create('c', { spec: shellSpec(lab.rootfs, script) });
    await container.start();
    await using process = await container.exec({
      args: ['grep', 'CapInh', '/proc/self/status'],
      env: ['PATH=/bin'],
    });
    expect((await collect(await process.attach())).stdout).toBe('CapInh:\t0000000000000000\n');
    await container.delete({ force: true });
  });

  // CVE-2020-15257
  it('reaches no socket of its monitor, and nobody but its owner does', async () => {
    const spec = shellSpec(lab.rootfs, 'cat /proc/net/unix', (changed) => {
      changed.linux!.namespaces = changed.linux!.namespaces!.filter(({ type }) => type !== 'network');
    });
    const { stdout } = await runToEnd(lab.runtime, 'c', { spec });
    // abstract names begin with @
    expect(stdout).not.toMatch(/@.*(tare|ctl)/);
    expect(statSync(lab.stateDirectory).mode & 0o777).toBe(0o700);
  });

  // CVE-2022-0492
  it('cannot name a release agent', async () => {
    const script =
      'for f in /sys/fs/cgroup/*/release_agent /sys/fs/cgroup/*/notify_on_release; do (echo 1 > $f) 2>/dev/null && echo wrote $f; done; true';
    expect((await runToEnd(lab.runtime, 'c', { spec: shellSpec(lab.rootfs, script) })).stdout).toBe('');
  });
});

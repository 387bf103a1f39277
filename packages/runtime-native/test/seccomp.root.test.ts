/** Seccomp filters in containers: what they forbid is forbidden, and a bad one leaves nothing. */
import { readFileSync } from 'node:fs';

import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';

import { defaultSeccompProfile } from '../src/seccomp.ts';
import type { Spec } from '../src/spec/index.ts';
import { collect, runToEnd, shellSpec } from '../src/testing/index.ts';
import { describeContainers, leftovers, makeLab } from './rootfs.ts';
import type { Lab } from './rootfs.ts';

describeContainers('a container with a seccomp profile', () => {
  let lab: Lab;
  beforeAll(() => {
    lab = makeLab();
  });
  afterEach(() => expect(leftovers(lab)).toEqual([]));
  afterAll(() => lab.dispose());

  const withDefault = (spec: Spec): void => {
    spec.linux!.seccomp = defaultSeccompProfile({ capabilities: spec.process!.capabilities!.bounding! });
  };

  it('runs under the default profile, with and without no_new_privs', async () => {
    for (const noNewPrivileges of [true, false]) {
      const spec = shellSpec(
        lab.rootfs,
        'grep -e "Seccomp:" -e CapEff /proc/self/status; echo $$',
        (changed) => {
          withDefault(changed);
          changed.process!.noNewPrivileges = noNewPrivileges;
        },
      );
      const { stdout, exitCode } = await runToEnd(lab.runtime, 'c', { spec });
      expect({ stdout, exitCode }).toEqual({
        stdout: 'CapEff:\t00000000a80425fb\nSeccomp:\t2\n1\n',
        exitCode: 0,
      });
    }
  });

  it('runs as another user under it', async () => {
    const spec = shellSpec(lab.rootfs, 'id -u; grep CapEff /proc/self/status', (changed) => {
      withDefault(changed);
      changed.process!.noNewPrivileges = false;
      changed.process!.user = { uid: 1000, gid: 1000 };
    });
    expect((await runToEnd(lab.runtime, 'c', { spec })).stdout).toBe('1000\nCapEff:\t0000000000000000\n');
  });

  it('cannot make the calls that the profile forbids', async () => {
    const script =
      'mkdir -p /tmp/x; mount -t tmpfs none /tmp/x 2>&1; umount /proc 2>&1; hostname other 2>&1; true';
    const spec = shellSpec(lab.rootfs, script, withDefault);
    const { stdout } = await runToEnd(lab.runtime, 'c', { spec });
    expect(stdout.match(/Operation not permitted|permission denied/gi)).toHaveLength(3);
    expect(stdout).not.toContain('other\n');
  });

  it('is killed by a call that the profile kills for', async () => {
    const spec = shellSpec(lab.rootfs, 'mkdir /tmp/never; echo went on', (changed) => {
      changed.linux!.seccomp = {
        defaultAction: 'SCMP_ACT_ALLOW',
        syscalls: [{ names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_KILL_PROCESS' }],
      };
      // the shell would go on after its child
      changed.process!.args = ['mkdir', '/tmp/never'];
    });
    expect(await runToEnd(lab.runtime, 'c', { spec })).toMatchObject({ exitCode: 128 + 31, signal: 31 });
  });

  it('may be forbidden what the way to its program takes', async () => {
    // the filter is loaded before the start gate only when it lets the process wait there and go on
    for (const names of [
      ['recvfrom', 'recvmsg'],
      ['sendto', 'sendmsg'],
      ['capset', 'prctl'],
    ]) {
      const spec = shellSpec(lab.rootfs, 'true', (changed) => {
        changed.process!.args = ['true'];
        changed.linux!.seccomp = {
          defaultAction: 'SCMP_ACT_ALLOW',
          syscalls: [{ names, action: 'SCMP_ACT_ERRNO' }],
        };
      });
      const created = await lab.runtime.create('c', { spec });
      const loaded = /^Seccomp:\t(\d)$/m.exec(readFileSync(`/proc/${created.pid}/status`, 'utf8'))![1];
      expect(loaded, names.join()).toBe('0');
      await created.delete({ force: true });
    }
    const container = await lab.runtime.create('c', { spec: shellSpec(lab.rootfs, 'true', withDefault) });
    expect(readFileSync(`/proc/${container.pid}/status`, 'utf8')).toMatch(/^Seccomp:\t2$/m);
    await container.start();
    expect((await container.wait()).exitCode).toBe(0);
    await container.delete();
  });

  it('filters an exec too, unless it is told not to', async () => {
    const container = await lab.runtime.create('c', {
      spec: shellSpec(lab.rootfs, 'sleep 1000', withDefault),
    });
    await container.start();
    const seccomp = async (options: { seccomp?: boolean }): Promise<string> => {
      await using process = await container.exec({
        args: ['grep', 'Seccomp:', '/proc/self/status'],
        env: ['PATH=/bin'],
        ...options,
      });
      return (await collect(await process.attach())).stdout;
    };
    expect(await seccomp({})).toBe('Seccomp:\t2\n');
    expect(await seccomp({ seccomp: false })).toBe('Seccomp:\t0\n');
    await container.delete({ force: true });
  });

  it('is refused with a profile that makes no sense', async () => {
    const spec = shellSpec(lab.rootfs, 'true', (changed) => {
      changed.linux!.seccomp = { defaultAction: 'SCMP_ACT_NOTIFY' };
    });
    await expect(lab.runtime.create('c', { spec })).rejects.toMatchObject({
      code: 'INVALID_SPEC',
      field: 'linux.seccomp.defaultAction',
    });
  });
});

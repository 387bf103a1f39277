/** Limits that bite. */
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';

import { detectCgroups } from '../src/cgroups/layout.ts';
import type { LinuxResources, Spec } from '../src/spec/index.ts';
import { collect, runToEnd, shellSpec } from '../src/testing/index.ts';
import { describeContainers, leftovers, makeLab } from './rootfs.ts';
import type { Lab } from './rootfs.ts';

describeContainers('limits of a container', () => {
  let lab: Lab;
  beforeAll(() => {
    lab = makeLab();
  });
  afterEach(() => expect(leftovers(lab)).toEqual([]));
  afterAll(() => lab.dispose());

  function limited(script: string, resources: LinuxResources): Spec {
    return shellSpec(lab.rootfs, script, (spec) => Object.assign(spec.linux!.resources!, resources));
  }

  it('kills a memory hog, with 137 and the OOM flag', async () => {
    const spec = limited('exec tail /dev/zero', { memory: { limit: 20 << 20, swap: 20 << 20 } });
    const result = await runToEnd(lab.runtime, 'c', { spec });
    expect(result).toMatchObject({ exitCode: 137, signal: 9, oomKilled: true });
  });

  it('tells of OOM kills as they happen', async () => {
    // the shell survives its child, which is what is killed
    const script = 'trap : TERM; (exec tail /dev/zero); echo survived; exec sleep 1000';
    const resources = { memory: { limit: 20 << 20, swap: 20 << 20 } };
    const container = await lab.runtime.create('c', { spec: limited(script, resources) });
    const types: string[] = [];
    const events = container.events();
    await container.start();
    for await (const event of events) {
      types.push(event.type);
      if (event.type === 'oom') await container.kill(9);
    }
    expect(types).toEqual(['oom', 'exit']);
    await container.delete();
  });

  it('tells an OOM kill from another one', async () => {
    const container = await lab.runtime.create('c', {
      spec: limited('sleep 1000', { memory: { limit: 20 << 20 } }),
    });
    await container.start();
    await container.kill(9);
    expect(await container.wait()).toMatchObject({ exitCode: 137, oomKilled: false });
    await container.delete();
  });

  it('stops a fork bomb at the limit of processes', async () => {
    const script = 'i=0; while [ $i -lt 50 ]; do sleep 1000 & i=$((i+1)); done 2>/dev/null; echo never';
    const container = await lab.runtime.create('c', { spec: limited(script, { pids: { limit: 10 } }) });
    await container.start();
    // busybox's sh ends when it cannot fork
    await container.wait();
    expect((await container.stats()).pids?.limit).toBe(10);
    await container.delete();
  });

  it('holds the cpu quota', async () => {
    const container = await lab.runtime.create('c', {
      spec: limited('while :; do :; done', { cpu: { quota: 10_000, period: 100_000 } }),
    });
    await container.start();
    await expect
      .poll(async () => Number((await container.stats()).cpu?.throttledPeriods ?? 0n))
      .toBeGreaterThan(3);
    const first = await container.stats();
    await expect
      .poll(async () => Number((await container.stats()).cpu!.periods - first.cpu!.periods), {
        timeout: 10_000,
      })
      .toBeGreaterThan(5);
    const second = await container.stats();
    const share =
      Number(second.cpu!.usageNs - first.cpu!.usageNs) /
      1e6 /
      (second.readAt.getTime() - first.readAt.getTime());
    expect(share).toBeLessThan(0.2);
    await container.delete({ force: true });
  });

  it('changes limits of a running container', async () => {
    const container = await lab.runtime.create('c', { spec: limited('sleep 1000', { pids: { limit: 10 } }) });
    await container.start();
    await container.update({ pids: { limit: 77 } });
    expect((await container.stats()).pids).toMatchObject({ current: 1, limit: 77 });
    expect(await container.pids()).toEqual([container.pid]);
    await container.delete({ force: true });
  });

  it.runIf(detectCgroups().kind === 'v2')(
    'find room for an exec where an init system has divided the cgroup (needs cgroup version 2 alone)',
    async () => {
      // as systemd does: itself in a part, the controllers to the parts
      const script =
        'cd /sys/fs/cgroup && mkdir init.scope && echo 1 > init.scope/cgroup.procs && ' +
        'echo +pids > cgroup.subtree_control && echo ready && exec sleep 1000';
      const spec = shellSpec(lab.rootfs, script, ({ mounts }) => {
        const cgroup = mounts!.find(({ type }) => type === 'cgroup')!;
        cgroup.options = cgroup.options!.filter((option) => option !== 'ro');
      });
      const container = await lab.runtime.create('c', { spec });
      const attachment = await container.attach();
      await container.start();
      for await (const { data } of attachment.output) {
        expect(Buffer.from(data).toString()).toBe('ready\n');
        break;
      }
      {
        await using process = await container.exec({
          args: ['cat', '/proc/self/cgroup'],
          env: ['PATH=/bin'],
        });
        expect((await collect(await process.attach())).stdout).toBe('0::/init.scope\n');
      }
      expect(await container.pids()).toEqual([container.pid]);
      await container.pause();
      expect((await container.state()).status).toBe('paused');
      await container.delete({ force: true });
    },
  );
});

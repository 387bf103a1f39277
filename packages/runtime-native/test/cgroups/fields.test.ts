/**
 * Limits whose controllers few machines have, in directories that look like cgroups: what is written, and where. Those
 * that can be had are tested on the real thing.
 */
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { openCgroup } from '../../src/cgroups/cgroups.ts';
import type { Cgroup } from '../../src/cgroups/cgroup.ts';
import { applyV1 } from '../../src/cgroups/v1.ts';
import { applyV2 } from '../../src/cgroups/v2.ts';
import type { LinuxResources } from '../../src/spec/index.ts';

describe('a limit of the spec', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'tare-cgroup-'));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  /** What the files hold afterwards. A real one takes every write; here the last one stays. */
  function written(
    apply: typeof applyV1,
    controller: string,
    resources: LinuxResources,
    files: string[],
  ): Record<string, string> {
    for (const file of files) writeFileSync(join(folder, file), '');
    apply[controller]!(folder, resources);
    const names = readdirSync(folder);
    return Object.fromEntries(names.map((name) => [name, readFileSync(join(folder, name), 'utf8')]));
  }

  const blockIO = {
    weight: 500,
    leafWeight: 300,
    weightDevice: [{ major: 8, minor: 16, weight: 700, leafWeight: 100 }],
  };

  it('on the weight of block I/O goes to the files of the scheduler that there is', () => {
    expect(
      written(applyV1, 'blkio', { blockIO }, [
        'blkio.weight',
        'blkio.leaf_weight',
        'blkio.weight_device',
        'blkio.leaf_weight_device',
      ]),
    ).toEqual({
      'blkio.weight': '500',
      'blkio.leaf_weight': '300',
      'blkio.weight_device': '8:16 700',
      'blkio.leaf_weight_device': '8:16 100',
    });
    rmSync(folder, { recursive: true });
    folder = mkdtempSync(join(tmpdir(), 'tare-cgroup-'));
    const bfq = { blockIO: { weight: 500, weightDevice: [{ major: 8, minor: 16, weight: 700 }] } };
    expect(written(applyV1, 'blkio', bfq, ['blkio.bfq.weight', 'blkio.bfq.weight_device'])).toEqual({
      'blkio.bfq.weight': '500',
      'blkio.bfq.weight_device': '8:16 700',
    });
  });

  it('on the weight of block I/O has the scale of version 2 there, but for BFQ', () => {
    expect(written(applyV2, 'io', { blockIO: { weight: 1000 } }, ['io.weight'])).toEqual({
      'io.weight': 'default 10000',
    });
    expect(written(applyV2, 'io', { blockIO: { weight: 1000 } }, ['io.bfq.weight'])).toMatchObject({
      'io.bfq.weight': '1000',
    });
  });

  it('on real-time processor time is written period first', () => {
    const resources = { cpu: { realtimePeriod: 1_000_000, realtimeRuntime: 950_000 } };
    expect(written(applyV1, 'cpu', resources, ['cpu.rt_period_us', 'cpu.rt_runtime_us'])).toEqual({
      'cpu.rt_period_us': '1000000',
      'cpu.rt_runtime_us': '950000',
    });
  });

  it('on network classes and priorities, and on RDMA handles, is written as version 1 has it', () => {
    expect(written(applyV1, 'net_cls', { network: { classID: 0x100001 } }, ['net_cls.classid'])).toEqual({
      'net_cls.classid': '1048577',
    });
    const priorities = [{ name: 'eth0', priority: 5 }];
    expect(written(applyV1, 'net_prio', { network: { priorities } }, ['net_prio.ifpriomap'])).toMatchObject({
      'net_prio.ifpriomap': 'eth0 5',
    });
    const rdma = { mlx5_1: { hcaHandles: 3, hcaObjects: 10_000 } };
    for (const apply of [applyV1, applyV2]) {
      expect(written(apply, 'rdma', { rdma }, ['rdma.max'])).toMatchObject({
        'rdma.max': 'mlx5_1 hca_handle=3 hca_object=10000',
      });
    }
  });

  it('on huge pages is for their reservation too, where the kernel counts that', () => {
    const hugepageLimits = [{ pageSize: '2MB', limit: 9 }];
    const file = 'hugetlb.2MB.limit_in_bytes';
    expect(written(applyV1, 'hugetlb', { hugepageLimits }, [file])).toEqual({ [file]: '9' });
  });

  it('on memory of the kernel is written where version 1 still has it', () => {
    const files = ['memory.kmem.limit_in_bytes', 'memory.kmem.tcp.limit_in_bytes'];
    expect(written(applyV1, 'memory', { memory: { kernel: 7, kernelTCP: 8 } }, files)).toEqual({
      'memory.kmem.limit_in_bytes': '7',
      'memory.kmem.tcp.limit_in_bytes': '8',
    });
  });

  it('is refused by the name of its file where there is none', () => {
    expect(() => written(applyV1, 'net_cls', { network: { classID: 1 } }, [])).toThrow(
      expect.objectContaining({ code: 'UNSUPPORTED', path: join(folder, 'net_cls.classid') }),
    );
  });
});

describe('a cgroup whose processes do not freeze', () => {
  let mountPoint: string;
  beforeEach(() => {
    mountPoint = mkdtempSync(join(tmpdir(), 'tare-cgroup-'));
    // as the kernel has it while one of them is in a system call that nothing interrupts
    mkdirSync(join(mountPoint, 'x'));
    writeFileSync(join(mountPoint, 'x/cgroup.freeze'), '0');
    writeFileSync(join(mountPoint, 'x/cgroup.events'), 'populated 1\nfrozen 0\n');
  });
  afterEach(() => rmSync(mountPoint, { recursive: true, force: true }));

  const stuck = (): Cgroup =>
    openCgroup('/x', { layout: { kind: 'v2', hierarchies: [{ version: 2, mountPoint, controllers: [] }] } });
  const wanted = (): string => readFileSync(join(mountPoint, 'x/cgroup.freeze'), 'utf8');

  it('goes on when the time is up', async () => {
    const freezing = stuck().freeze({ timeoutMs: 20 });
    expect(wanted()).toBe('1');
    await expect(freezing).rejects.toMatchObject({ code: 'CGROUP_FAILED', path: '/x' });
    expect(wanted()).toBe('0');
  });

  it('goes on when the caller has changed his mind', async () => {
    const abort = new AbortController();
    const freezing = stuck().freeze({ signal: abort.signal });
    expect(wanted()).toBe('1');
    abort.abort(new Error('enough'));
    await expect(freezing).rejects.toThrow('enough');
    expect(wanted()).toBe('0');
  });
});

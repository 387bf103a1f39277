import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, rmdirSync } from 'node:fs';
import { dirname } from 'node:path';

import { afterAll, afterEach, expect, test } from 'vitest';

import { createCgroup, openCgroup, sweepCgroups } from '../../src/cgroups/cgroups.ts';
import type { Cgroup } from '../../src/cgroups/cgroup.ts';
import { detectCgroups } from '../../src/cgroups/layout.ts';
import { describeAsRoot } from '../root.ts';

/** Files of version 2 that the spec's limits go to. */
const V2_LIMITS = (
  'memory.max memory.swap.max memory.low memory.high cpu.weight cpu.max cpu.max.burst cpuset.cpus cpuset.mems ' +
  'pids.max hugetlb.2MB.max hugetlb.2MB.rsvd.max io.max cgroup.max.depth'
).split(' ');

/** Own for each run, so that two runs on one machine do not meet. */
const parent = `/tare-test-${process.pid}`;

describeAsRoot('a cgroup', () => {
  const layout = detectCgroups();
  const children: ChildProcess[] = [];
  const cgroups: Cgroup[] = [];
  let count = 0;

  function make(): Cgroup {
    const cgroup = createCgroup(`${parent}/${(count += 1)}`);
    cgroups.push(cgroup);
    return cgroup;
  }

  function start(cgroup: Cgroup, command: string, ...args: string[]): ChildProcess {
    // the shell waits until it was moved
    const child = spawn('/bin/sh', ['-c', 'read go; exec "$@"', 'sh', command, ...args], {
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    children.push(child);
    cgroup.add(child.pid!);
    child.stdin!.end('go\n');
    return child;
  }

  function file(controller: string, name: string, cgroup: Cgroup): string {
    const hierarchy = layout.hierarchies.find(({ controllers }) => controllers.includes(controller))!;
    return readFileSync(`${hierarchy.mountPoint}${cgroup.path}/${name}`, 'utf8').trim();
  }

  afterEach(async () => {
    for (const cgroup of cgroups.splice(0)) {
      await cgroup.kill();
      await cgroup.remove();
    }
    for (const child of children.splice(0)) {
      child.kill('SIGKILL');
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    }
  });

  afterAll(() => {
    sweepCgroups(parent);
    for (const { mountPoint } of layout.hierarchies) expect(existsSync(mountPoint + parent)).toBe(false);
  });

  test('exists in every hierarchy and is gone from all of them after removal', async () => {
    const cgroup = make();
    for (const { mountPoint } of layout.hierarchies) expect(existsSync(mountPoint + cgroup.path)).toBe(true);
    await cgroup.remove();
    for (const { mountPoint } of layout.hierarchies) expect(existsSync(mountPoint + cgroup.path)).toBe(false);
    await cgroup.remove();
  });

  test('lists the processes that were put into it, also those in cgroups below it', async () => {
    const cgroup = make();
    const child = start(cgroup, 'sleep', '60');
    expect(cgroup.pids()).toEqual([child.pid]);
    const outer = make();
    createCgroup(`${outer.path}/nested`).add(child.pid!);
    expect(outer.pids()).toEqual([child.pid]);
    expect(cgroup.pids()).toEqual([]);
  });

  test('is refused where processes live already', () => {
    const cgroup = make();
    start(cgroup, 'sleep', '60');
    expect(() => createCgroup(cgroup.path)).toThrowError(expect.objectContaining({ code: 'ALREADY_EXISTS' }));
    expect(openCgroup(cgroup.path).pids()).toHaveLength(1);
  });

  test.each(['relative', '/', '/a/../b', '/a//b', '', '/a/.'])('is refused at the path %j', (path) => {
    expect(() => createCgroup(path)).toThrowError(
      expect.objectContaining({ code: 'INVALID_SPEC', field: 'linux.cgroupsPath' }),
    );
  });

  test('takes limits of memory, pids, cpu and devices', () => {
    const cgroup = make();
    cgroup.apply({
      memory: { limit: 64 << 20, swap: 96 << 20, reservation: 32 << 20 },
      pids: { limit: 17 },
      cpu: { shares: 512, quota: 20_000, period: 100_000, cpus: '0', mems: '0' },
      devices: [{ allow: false }, { allow: true, type: 'c', major: 1, minor: 3, access: 'rw' }],
    });
    const v1 = layout.kind !== 'v2';
    expect(file('memory', v1 ? 'memory.limit_in_bytes' : 'memory.max', cgroup)).toBe(String(64 << 20));
    expect(file('memory', v1 ? 'memory.memsw.limit_in_bytes' : 'memory.swap.max', cgroup)).toBe(
      String(v1 ? 96 << 20 : 32 << 20),
    );
    expect(file('pids', 'pids.max', cgroup)).toBe('17');
    expect(file('cpuset', 'cpuset.cpus', cgroup)).toBe('0');
    if (v1) {
      expect(file('cpu', 'cpu.shares', cgroup)).toBe('512');
      expect(file('cpu', 'cpu.cfs_quota_us', cgroup)).toBe('20000');
      expect(file('devices', 'devices.list', cgroup)).toBe('c 1:3 rw');
    }
    // raising and lowering, in whichever order the kernel needs
    cgroup.apply({ memory: { limit: 128 << 20, swap: 192 << 20 } });
    cgroup.apply({ memory: { limit: 32 << 20, swap: 32 << 20 } });
    cgroup.apply({ memory: { limit: -1 } });
    expect(cgroup.stats().memory?.limitBytes).toBeUndefined();
    cgroup.apply({ pids: { limit: 0 } });
    expect(cgroup.stats().pids?.limit).toBeUndefined();
  });

  test.runIf(layout.kind === 'v2')('takes every limit that version 2 has a file for (needs it alone)', () => {
    const cgroup = make();
    const disk = readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .find((line) => line.includes(' - ext4 '))!
      .split(' ')[2]!;
    const [major, minor] = disk.split(':').map(Number) as [number, number];
    cgroup.apply({
      memory: { limit: 64 << 20, swap: 96 << 20, reservation: 32 << 20 },
      cpu: { shares: 512, quota: 20_000, period: 50_000, burst: 10_000, cpus: '0', mems: '0' },
      pids: { limit: 17 },
      hugepageLimits: [{ pageSize: '2MB', limit: 4 << 20 }],
      blockIO: {
        throttleReadBpsDevice: [{ major, minor, rate: 1 << 20 }],
        throttleWriteBpsDevice: [{ major, minor, rate: 2 << 20 }],
        throttleReadIOPSDevice: [{ major, minor, rate: 100 }],
        throttleWriteIOPSDevice: [{ major, minor, rate: 200 }],
      },
      unified: { 'memory.high': String(48 << 20), 'cgroup.max.depth': '3' },
    });
    const limits = (): Record<string, string> =>
      Object.fromEntries(
        V2_LIMITS.map((name) => [name, readFileSync(`${cgroup.placement.v2}/${name}`, 'utf8').trim()]),
      );
    expect(limits()).toEqual({
      'memory.max': String(64 << 20),
      'memory.swap.max': String(32 << 20),
      'memory.low': String(32 << 20),
      'memory.high': String(48 << 20),
      'cpu.weight': '59',
      'cpu.max': '20000 50000',
      'cpu.max.burst': '10000',
      'cpuset.cpus': '0',
      'cpuset.mems': '0',
      'pids.max': '17',
      'hugetlb.2MB.max': String(4 << 20),
      'hugetlb.2MB.rsvd.max': String(4 << 20),
      'io.max': `${disk} rbps=1048576 wbps=2097152 riops=100 wiops=200`,
      'cgroup.max.depth': '3',
    });
    // away again
    cgroup.apply({
      memory: { limit: -1, swap: -1, reservation: -1 },
      cpu: { quota: -1, burst: 0 },
      pids: { limit: -1 },
      blockIO: { throttleReadBpsDevice: [{ major, minor, rate: 0 }] },
    });
    expect(limits()).toMatchObject({
      'memory.max': 'max',
      'memory.swap.max': 'max',
      'memory.low': 'max',
      'cpu.max': 'max 50000',
      'cpu.max.burst': '0',
      'pids.max': 'max',
      'io.max': `${disk} rbps=max wbps=2097152 riops=100 wiops=200`,
    });
  });

  test.runIf(layout.kind !== 'v2')('takes every limit that version 1 has a file for (needs it)', () => {
    const cgroup = make();
    const disk = readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .find((line) => line.includes(' - ext4 '))!
      .split(' ')[2]!;
    const [major, minor] = disk.split(':').map(Number) as [number, number];
    cgroup.apply({
      memory: {
        limit: 64 << 20,
        swap: 96 << 20,
        reservation: 32 << 20,
        swappiness: 10,
        disableOOMKiller: true,
        useHierarchy: true,
        checkBeforeUpdate: true,
      },
      cpu: { shares: 512, quota: 20_000, period: 50_000, burst: 10_000, cpus: '0', mems: '0' },
      pids: { limit: 17 },
      blockIO: {
        throttleReadBpsDevice: [{ major, minor, rate: 1 << 20 }],
        throttleWriteBpsDevice: [{ major, minor, rate: 2 << 20 }],
        throttleReadIOPSDevice: [{ major, minor, rate: 100 }],
        throttleWriteIOPSDevice: [{ major, minor, rate: 200 }],
      },
    });
    const limits: [controller: string, name: string, value: string][] = [
      ['memory', 'memory.limit_in_bytes', String(64 << 20)],
      ['memory', 'memory.memsw.limit_in_bytes', String(96 << 20)],
      ['memory', 'memory.soft_limit_in_bytes', String(32 << 20)],
      ['memory', 'memory.swappiness', '10'],
      ['cpu', 'cpu.shares', '512'],
      ['cpu', 'cpu.cfs_quota_us', '20000'],
      ['cpu', 'cpu.cfs_period_us', '50000'],
      ['cpu', 'cpu.cfs_burst_us', '10000'],
      ['cpuset', 'cpuset.cpus', '0'],
      ['cpuset', 'cpuset.mems', '0'],
      ['pids', 'pids.max', '17'],
      ['blkio', 'blkio.throttle.read_bps_device', `${disk} 1048576`],
      ['blkio', 'blkio.throttle.write_bps_device', `${disk} 2097152`],
      ['blkio', 'blkio.throttle.read_iops_device', `${disk} 100`],
      ['blkio', 'blkio.throttle.write_iops_device', `${disk} 200`],
    ];
    for (const [controller, name, value] of limits) expect(file(controller, name, cgroup), name).toBe(value);
    expect(file('memory', 'memory.oom_control', cgroup)).toContain('oom_kill_disable 1');
    cgroup.apply({ cpu: { idle: 1 } });
    expect(file('cpu', 'cpu.idle', cgroup)).toBe('1');
  });

  test('looks at the use of memory before it lowers the limit, when asked', async () => {
    const cgroup = make();
    const child = start(
      cgroup,
      process.execPath,
      '-e',
      'globalThis.b = Buffer.alloc(32 << 20, 1); console.log(1); setInterval(() => {}, 1e6)',
    );
    await once(child.stdout!, 'data');
    expect(() => cgroup.apply({ memory: { limit: 8 << 20, checkBeforeUpdate: true } })).toThrowError(
      expect.objectContaining({ code: 'INVALID_STATE', field: 'linux.resources.memory.limit' }),
    );
    expect(child.exitCode).toBeNull();
  });

  test.runIf(layout.kind === 'hybrid')('limits huge pages on version 2 beside version 1 (needs both)', () => {
    const cgroup = make();
    cgroup.apply({ hugepageLimits: [{ pageSize: '2MB', limit: 4 << 20 }] });
    expect(file('hugetlb', 'hugetlb.2MB.max', cgroup)).toBe(String(4 << 20));
    expect(file('hugetlb', 'hugetlb.2MB.rsvd.max', cgroup)).toBe(String(4 << 20));
    const other = make();
    other.apply({ unified: { 'hugetlb.2MB.max': '2097152' } });
    expect(file('hugetlb', 'hugetlb.2MB.max', other)).toBe('2097152');
  });

  test.runIf(layout.kind === 'v2').each([
    ['memory.kernel', { memory: { kernel: 1 << 20 } }],
    ['memory.kernelTCP', { memory: { kernelTCP: 1 << 20 } }],
    ['memory.useHierarchy', { memory: { useHierarchy: false } }],
    ['memory.swappiness', { memory: { swappiness: 60 } }],
    ['memory.disableOOMKiller', { memory: { disableOOMKiller: true } }],
    ['cpu.realtimeRuntime', { cpu: { realtimeRuntime: 950_000 } }],
    ['network.classID', { network: { classID: 1 } }],
  ])('says that version 2 has no %s (needs it alone)', (field, resources) => {
    expect(() => make().apply(resources)).toThrowError(
      expect.objectContaining({ code: 'UNSUPPORTED', field: expect.stringContaining(field.split('.')[0]!) }),
    );
  });

  test.runIf(layout.kind === 'v2')('hands every controller of version 2 down (needs it alone)', () => {
    const cgroup = createCgroup(`${parent}/a/b/c`);
    cgroups.push(cgroup, openCgroup(`${parent}/a`));
    const controllers = (folder: string): string[] =>
      readFileSync(`${folder}/cgroup.controllers`, 'utf8').trim().split(' ').sort();
    expect(controllers(cgroup.placement.v2!)).toEqual(controllers('/sys/fs/cgroup'));
  });

  test('names the file and the value that the kernel refuses', () => {
    expect(() => make().apply({ cpu: { cpus: '4000' } })).toThrowError(
      expect.objectContaining({
        code: 'CGROUP_FAILED',
        errno: expect.any(Number),
        path: expect.stringContaining('cpuset'),
      }),
    );
  });

  test('refuses a limit without a controller, by the name of the field', () => {
    const [first] = layout.hierarchies;
    const bare = { ...layout, hierarchies: [{ ...first!, controllers: ['freezer'] }] };
    const cgroup = createCgroup(`${parent}/bare`, { layout: bare });
    cgroups.push(cgroup);
    cgroup.apply({ cpu: {}, memory: {}, pids: { limit: 0 } });
    expect(() => cgroup.apply({ memory: { limit: 1 << 20 } })).toThrowError(
      expect.objectContaining({ code: 'UNSUPPORTED', field: 'linux.resources.memory' }),
    );
  });

  test('stops a fork bomb at its limit of processes', async () => {
    const cgroup = make();
    cgroup.apply({ pids: { limit: 5 } });
    const child = start(
      cgroup,
      'sh',
      '-c',
      'for i in 1 2 3 4 5 6 7 8 9; do sleep 60 & done; echo done; wait',
    );
    await once(child, 'exit');
    expect(cgroup.stats().pids?.current).toBeLessThanOrEqual(5);
  });

  test('counts what the OOM killer took', async () => {
    const cgroup = make();
    expect(cgroup.oomKills()).toBe(0);
    cgroup.apply({ memory: { limit: 16 << 20, swap: 16 << 20 } });
    const child = start(cgroup, process.execPath, '-e', 'Buffer.alloc(256 << 20, 1)');
    const [, signal] = await once(child, 'exit');
    expect(signal).toBe('SIGKILL');
    expect(cgroup.oomKills()).toBeGreaterThan(0);
  });

  test('freezes and thaws its processes', async () => {
    const cgroup = make();
    const child = start(cgroup, 'sh', '-c', 'while :; do echo tick; done');
    await once(child.stdout!, 'data');
    await cgroup.freeze();
    expect(cgroup.frozen()).toBe(true);
    // what was in the pipe already is read to its end; nothing follows
    const before = cgroup.stats().cpu!.usageNs;
    expect(cgroup.stats().cpu!.usageNs).toBe(before);
    await cgroup.thaw();
    expect(cgroup.frozen()).toBe(false);
    await once(child.stdout!, 'data');
  });

  test('kills also what is frozen, and what forks all the time', async () => {
    const cgroup = make();
    const child = start(cgroup, 'sh', '-c', 'while :; do sh -c "sleep 60" & sleep 0.01; done');
    await cgroup.freeze();
    await cgroup.kill();
    await cgroup.thaw();
    if (child.signalCode === null) await once(child, 'exit');
    expect(child.signalCode).toBe('SIGKILL');
    await cgroup.remove();
  });

  test('passes other signals to every process', async () => {
    const cgroup = make();
    const first = start(cgroup, 'sleep', '60');
    const second = start(cgroup, 'sleep', '61');
    await cgroup.kill(15);
    await Promise.all([once(first, 'exit'), once(second, 'exit')]);
    expect([first.signalCode, second.signalCode]).toEqual(['SIGTERM', 'SIGTERM']);
  });

  test('counts cpu time, memory and processes', async () => {
    const cgroup = make();
    const child = start(
      cgroup,
      'sh',
      '-c',
      'i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done; echo done; exec sleep 60',
    );
    await once(child.stdout!, 'data');
    const stats = cgroup.stats();
    expect(stats.cpu!.usageNs).toBeGreaterThan(1_000_000n);
    expect(stats.memory!.usageBytes).toBeGreaterThan(0n);
    expect(Object.keys(stats.memory!.stat).length).toBeGreaterThan(5);
    expect(stats.pids).toEqual({ current: 1, limit: undefined });
    expect(stats.io).toBeInstanceOf(Array);
  });

  test('is not removed while processes live in it', async () => {
    const cgroup = make();
    start(cgroup, 'sleep', '60');
    expect(() => rmdirSync(cgroup.placement.v1[0] ?? cgroup.placement.v2!)).toThrow('EBUSY');
    sweepCgroups(cgroup.path);
    expect(cgroup.pids()).toHaveLength(1);
  });

  test('stays, empty or not, when only the one above it is swept', async () => {
    const cgroup = createCgroup(`${parent}-shared/a`);
    const folder = cgroup.placement.v1[0] ?? cgroup.placement.v2!;
    sweepCgroups(`${parent}-shared`, { below: false });
    expect(existsSync(folder)).toBe(true);
    await cgroup.remove();
    sweepCgroups(`${parent}-shared`, { below: false });
    expect(existsSync(dirname(folder))).toBe(false);
  });

  const unified = layout.hierarchies.find(({ version }) => version === 2);
  /** On version 2 alone, wherever the devices controller is. */
  const makeUnified = (): Cgroup => {
    const only: typeof layout = { kind: 'v2', hierarchies: [{ ...unified!, controllers: [] }] };
    const cgroup = createCgroup(`${parent}/devices`, { layout: only });
    cgroups.push(cgroup);
    return cgroup;
  };

  test.runIf(unified)('takes device rules on version 2 also when signals interrupt the kernel', async () => {
    const cgroup = makeUnified();
    // without a listener the signal would end this process
    const ignore = (): void => {};
    process.on('SIGUSR2', ignore);
    // slowly enough that Node hears of its end too: libuv drops signals when too many wait
    const script = `while kill -USR2 ${process.pid}; do i=0; while [ $i -lt 200 ]; do i=$((i+1)); done; done`;
    const storm = spawn('/bin/sh', ['-c', script], { stdio: 'ignore' });
    children.push(storm);
    try {
      const devices = Array.from(
        { length: 200 },
        (_, minor) => ({ allow: true, type: 'c', major: 1, minor }) as const,
      );
      for (let round = 0; round < 20; round++) {
        await once(process, 'SIGUSR2');
        cgroup.apply({ devices });
      }
    } finally {
      storm.kill('SIGKILL');
      await once(storm, 'exit');
      process.off('SIGUSR2', ignore);
    }
  });

  test.runIf(unified)(
    'denies devices on version 2 through a program, in the order of the rules',
    async () => {
      const cgroup = makeUnified();
      const probe = async (): Promise<string> => {
        const script =
          'o=; for d in null zero full; do (: < /dev/$d) 2>/dev/null && o=${o}r || o=${o}-; (: > /dev/$d) 2>/dev/null && o=${o}w || o=${o}-; o=$o,; done; echo $o';
        const child = start(cgroup, 'sh', '-c', script);
        const [data] = await once(child.stdout!, 'data');
        return String(data).trim();
      };
      expect(await probe()).toBe('rw,rw,rw,');
      cgroup.apply({
        devices: [
          { allow: false },
          { allow: true, type: 'c', major: 1, minor: 3, access: 'rwm' },
          { allow: true, type: 'c', major: 1, minor: 5, access: 'rw' },
          { allow: false, type: 'c', major: 1, minor: 5, access: 'w' },
        ],
      });
      expect(await probe()).toBe('rw,r-,--,');
      // a second set of rules takes the place of the first
      cgroup.apply({
        devices: [
          { allow: true, type: 'a' },
          { allow: false, type: 'c', major: 1, minor: 7 },
        ],
      });
      expect(await probe()).toBe('rw,rw,--,');
    },
  );

  test('is made again when its parent was swept in between', () => {
    for (let round = 0; round < 3; round++) {
      const cgroup = createCgroup(`${parent}-deep/a/b`);
      cgroup.apply({ pids: { limit: 3 } });
      sweepCgroups(`${parent}-deep`);
      expect(existsSync(cgroup.placement.v1[0] ?? cgroup.placement.v2!)).toBe(false);
    }
  });
});

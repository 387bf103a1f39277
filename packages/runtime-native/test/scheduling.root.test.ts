/** How the kernel treats a container's process, read from inside it: processor, disk, memory nodes, clocks. */
import { readFileSync, readlinkSync } from 'node:fs';

import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';

import type { ExecOptions } from '../src/runtime.ts';
import { securityModules } from '../src/security-modules.ts';
import type { Spec } from '../src/spec/index.ts';
import { collect, runToEnd, shellSpec } from '../src/testing/index.ts';
import { describeContainers, leftovers, makeLab } from './rootfs.ts';
import type { Lab } from './rootfs.ts';

describeContainers('the process of a container', () => {
  let lab: Lab;
  beforeAll(() => {
    lab = makeLab();
  });
  afterEach(() => expect(leftovers(lab)).toEqual([]));
  afterAll(() => lab.dispose());

  async function out(script: string, change: (spec: Spec) => void): Promise<string> {
    const spec = shellSpec(lab.rootfs, script, change);
    const { stdout, stderr } = await runToEnd(lab.runtime, 'c', { spec });
    expect(stderr).toBe('');
    return stdout.trim();
  }

  /** What a process executed in a running container writes. */
  async function execOut(options: ExecOptions, change: (spec: Spec) => void): Promise<string> {
    const spec = shellSpec(lab.rootfs, 'sleep 1000', change);
    const container = await lab.runtime.create('c', { spec });
    try {
      await container.start();
      await using process = await container.exec(options);
      const { stdout } = await collect(await process.attach());
      await process.wait();
      return stdout.trim();
    } finally {
      await container.delete({ force: true });
    }
  }

  // fields 19 (nice), 40 (real-time priority) and 41 (policy) of proc_pid_stat(5)
  const scheduling = "awk '{ print $19, $40, $41 }' /proc/self/stat";

  it('is scheduled by the policy, priority and niceness of the spec', async () => {
    const batch = (spec: Spec): void => void (spec.process!.scheduler = { policy: 'SCHED_BATCH', nice: 7 });
    expect(await out(scheduling, batch)).toBe('7 0 3');
    const idle = (spec: Spec): void => void (spec.process!.scheduler = { policy: 'SCHED_IDLE' });
    expect(await out(scheduling, idle)).toBe('0 0 5');
    const args = ['sh', '-c', scheduling];
    expect(await execOut({ args, env: ['PATH=/bin'] }, batch)).toBe('7 0 3');
  });

  it('may be scheduled in real time, where its cgroup has a share of that', async () => {
    const change = (spec: Spec): void =>
      void (spec.process!.scheduler = {
        policy: 'SCHED_RR',
        priority: 5,
        flags: ['SCHED_FLAG_RESET_ON_FORK'],
      });
    try {
      expect(await out("awk '{ print $40, $41 }' /proc/1/stat", change)).toBe('5 2');
    } catch (error) {
      // CONFIG_RT_GROUP_SCHED and a version 1 cgroup: none until cpu.rt_runtime_us says otherwise
      expect(error).toMatchObject({ code: 'SETUP_FAILED', field: 'process.scheduler', errnoCode: 'EPERM' });
    }
  });

  it('has the I/O priority of the spec', async () => {
    const change = (spec: Spec): void =>
      void (spec.process!.ioPriority = { class: 'IOPRIO_CLASS_BE', priority: 6 });
    expect(await out('busybox ionice -p 1', change)).toBe('best-effort: prio 6');
    const args = ['sh', '-c', 'busybox ionice -p $$'];
    expect(await execOut({ args, env: ['PATH=/bin'] }, change)).toBe('best-effort: prio 6');
  });

  it('has the memory policy of the spec', async () => {
    const change = (spec: Spec): void =>
      void (spec.linux!.memoryPolicy = { mode: 'MPOL_BIND', nodes: '0', flags: ['MPOL_F_STATIC_NODES'] });
    expect(await out('head -1 /proc/self/numa_maps', change)).toMatch(/^[0-9a-f]+ bind=static:0 /);
  });

  it('sees the system calls of the personality of the spec', async () => {
    const change = (spec: Spec): void => void (spec.linux!.personality = { domain: 'LINUX32' });
    const machine = process.arch === 'x64' ? 'i686' : 'armv8l';
    expect(await out('busybox uname -m', change)).toBe(machine);
    const args = ['busybox', 'uname', '-m'];
    expect(await execOut({ args, env: ['PATH=/bin'] }, change)).toBe(machine);
  });

  it('has the flags of the personality of the spec', async () => {
    const change = (spec: Spec): void =>
      void (spec.linux!.personality = { domain: 'LINUX', flags: ['ADDR_NO_RANDOMIZE', 'UNAME26'] });
    expect(await out('cat /proc/self/personality; busybox uname -r', change)).toMatch(/^00060000\n2\.6\./);
  });

  it('runs an exec on the CPUs of the spec', async () => {
    const change = (spec: Spec): void => void (spec.process!.execCPUAffinity = { initial: '0', final: '0' });
    const args = ['grep', 'Cpus_allowed_list', '/proc/self/status'];
    expect(await execOut({ args, env: ['PATH=/bin'] }, change)).toBe('Cpus_allowed_list:\t0');
    // the container's own process is not meant
    const own = /Cpus_allowed_list:.*/.exec(readFileSync('/proc/self/status', 'utf8'))![0];
    expect(await out(args.join(' '), change)).toBe(own);
  });

  it('has shifted clocks in a time namespace of its own, and so has an exec', async () => {
    const change = (spec: Spec): void => {
      spec.linux!.namespaces!.push({ type: 'time' });
      spec.linux!.timeOffsets = { monotonic: { secs: 5000, nanosecs: 7 }, boottime: { secs: 100_000_000 } };
    };
    const script = 'tr -s " " < /proc/self/timens_offsets; cut -d. -f1 /proc/uptime';
    for (const stdout of [
      await out(script, change),
      await execOut({ args: ['sh', '-c', script], env: ['PATH=/bin'] }, change),
    ]) {
      const [monotonic, boottime, uptime] = stdout.split('\n');
      expect(monotonic).toBe('monotonic 5000 7');
      expect(boottime).toBe('boottime 100000000 0');
      expect(Number(uptime)).toBeGreaterThanOrEqual(100_000_000);
    }
  });

  it('has a time namespace of its own also without offsets', async () => {
    const change = (spec: Spec): void => void spec.linux!.namespaces!.push({ type: 'time' });
    expect(await out('readlink /proc/self/ns/time', change)).not.toBe(readlinkSync('/proc/self/ns/time'));
  });

  it('names the field when the kernel refuses', async () => {
    const change = (spec: Spec): void => {
      spec.linux!.namespaces!.push({ type: 'time' });
      // before the machine was booted
      spec.linux!.timeOffsets = { boottime: { secs: -4_000_000_000 } };
    };
    await expect(out('true', change)).rejects.toMatchObject({
      code: 'SETUP_FAILED',
      step: 'TIME_OFFSETS',
      field: 'linux.timeOffsets',
    });
  });

  it('is refused a label of a security module that is not on', async () => {
    const { apparmor, selinux } = securityModules();
    const labels = [
      [
        apparmor,
        'process.apparmorProfile',
        (spec: Spec) => (spec.process!.apparmorProfile = 'docker-default'),
      ],
      [
        selinux,
        'process.selinuxLabel',
        (spec: Spec) => (spec.process!.selinuxLabel = 'system_u:system_r:x:s0'),
      ],
      [selinux, 'linux.mountLabel', (spec: Spec) => (spec.linux!.mountLabel = 'system_u:object_r:x:s0')],
    ] as const;
    for (const [on, field, change] of labels) {
      if (on) continue;
      await expect(out('true', change)).rejects.toMatchObject({ code: 'UNSUPPORTED', field });
    }
  });
});

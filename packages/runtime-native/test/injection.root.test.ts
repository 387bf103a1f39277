/**
 * A failure at every step in turn: before each operation of a plan that has all kinds of them, at each descriptor that the
 * caller runs out of, and the sudden death of whoever takes part. Each time everything is as it was before.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';

import { afterAll, afterEach, beforeAll, expect, it, vi } from 'vitest';

import { run } from '../../../test/lab/process.ts';
import type * as Operations from '../src/plan/operations.ts';
import type { Operation, OperationName, Plan } from '../src/plan/operations.ts';
import type { Container } from '../src/runtime.ts';
import type { Spec } from '../src/spec/index.ts';
import { shellSpec } from '../src/testing/index.ts';
import {
  cgroupFolders,
  children,
  describeContainers,
  leftovers,
  machineMounts,
  makeLab,
  processesOf,
} from './rootfs.ts';
import type { Lab } from './rootfs.ts';
import { kernelHas } from './root.ts';
import type { Attempt, Input } from './lab/out-of-descriptors.ts';

/** What happens to a plan on its way to the helper. */
const wire = vi.hoisted(() => ({ change: (plan: readonly unknown[]): readonly unknown[] => plan }));
vi.mock('../src/plan/operations.ts', async (original) => {
  const operations = await original<typeof Operations>();
  const { encodePlan } = operations;
  return { ...operations, encodePlan: (plan: Plan) => encodePlan(wire.change(plan) as Plan) };
});
const { createNativeRuntime } = await import('../src/native-runtime.ts');
const { OPERATIONS } = await import('../src/plan/operations.ts');

// a container for each operation: minutes, on an emulated machine
vi.setConfig({ testTimeout: 600_000 });

const phaseOf = ([name]: Operation): number => OPERATIONS[name][0] >> 8;

/** Operations of exec'd processes, of rarer machines, and with a test of their own; every other one is in the plan of this test. */
const ELSEWHERE: OperationName[] = [
  ...(['TARGET', 'TARGET_JOIN', 'PARENT_AFFINITY', 'AFFINITY'] as const),
  ...([
    'EXEC_LABEL',
    'PID_NAMESPACE',
    'ROOT_JOINED',
    'HOST_DEVICE',
    'SECCOMP_LISTENER',
    'PROGRAM',
    'CHANGE_ROOT',
  ] as const),
];

/** How the container is made: the second one takes more processes. */
const VARIANTS = ['by root', 'in a user namespace'] as const;

describeContainers('a failure on the way to a container', () => {
  let lab: Lab;
  let mounts: string[];
  let descriptors: number;
  let variant: (typeof VARIANTS)[number] = 'by root';
  beforeAll(async () => {
    lab = makeLab();
    mounts = machineMounts();
    mkdirSync(join(lab.directory, 'upper'));
    mkdirSync(join(lab.directory, 'work'));
    mkdirSync(join(lab.directory, 'source'));
    writeFileSync(join(lab.rootfs, 'etc/masked'), '');
    // the container's root may be somebody else
    chmodSync(lab.directory, 0o711);
    execFileSync('mkfifo', ['-m', '666', join(lab.directory, 'fifo')]);
    // the first container opens what all of them share
    await (await create()).delete({ force: true });
    await vi.waitUntil(() => children().length === 0, { interval: 2 });
    descriptors = countDescriptors();
  });
  afterEach(() => {
    wire.change = (plan) => plan;
    variant = 'by root';
  });
  afterAll(() => lab.dispose());

  const countDescriptors = (): number => readdirSync('/proc/self/fd').length;

  /** Nothing of a container: no mount, cgroup, process, file, descriptor of the caller. */
  async function expectClean(context: string): Promise<void> {
    await expect
      .poll(() => [...children(), ...processesOf(lab)], { message: context, interval: 2 })
      .toEqual([]);
    expect(leftovers(lab), context).toEqual([]);
    expect(machineMounts(), context).toEqual(mounts);
    await expect.poll(countDescriptors, { message: context, interval: 2 }).toBeLessThanOrEqual(descriptors);
  }

  /** A spec that needs as many kinds of operations as there are. */
  function everything(): Spec {
    const spec = manyThings();
    if (variant !== 'in a user namespace') return spec;
    const ids = [{ containerID: 0, hostID: 100_000, size: 65_536 }];
    const { linux } = spec as Required<Spec>;
    linux!.namespaces!.push({ type: 'user' }, { type: 'time' });
    linux!.timeOffsets = { monotonic: { secs: 7, nanosecs: 0 } };
    linux!.uidMappings = ids;
    linux!.gidMappings = ids;
    return spec;
  }

  function manyThings(): Spec {
    return shellSpec(lab.rootfs, 'sleep 1000', (spec) => {
      const { linux, process } = spec as Required<Spec>;
      const ids = [{ containerID: 0, hostID: 0, size: 65_536 }];
      const source = join(lab.directory, 'source');
      spec.hostname = 'box';
      spec.domainname = 'example.com';
      spec.root = { ...spec.root, path: lab.rootfs, readonly: true };
      spec.mounts!.push(
        { destination: '/bound', type: 'bind', source, options: ['rbind', 'rro'] },
        {
          destination: '/mapped',
          type: 'bind',
          source,
          options: ['bind'],
          uidMappings: ids,
          gidMappings: ids,
        },
        { destination: '/tmp', type: 'tmpfs', source: 'tmpfs', options: ['tmpcopyup'] },
        ...(variant === 'by root' && kernelHas(6, 3)
          ? [{ destination: '/mnt', type: 'tmpfs', source: 'tmpfs', uidMappings: ids, gidMappings: ids }]
          : []),
      );
      linux!.namespaces!.find(({ type }) => type === 'ipc')!.path = '/proc/self/ns/ipc';
      linux!.sysctl = { 'net.ipv4.ip_forward': '1' };
      linux!.maskedPaths!.push('/etc/masked');
      linux!.personality = { domain: 'LINUX' };
      linux!.memoryPolicy = { mode: 'MPOL_PREFERRED', nodes: '0' };
      linux!.rootfsPropagation = 'private';
      const hooks = [{ path: '/bin/sh', args: ['sh', '-c', ':'] }];
      spec.hooks = { createRuntime: hooks, createContainer: hooks, startContainer: hooks };
      linux!.seccomp = { defaultAction: 'SCMP_ACT_ALLOW' };
      process!.user = { uid: 1000, gid: 1000 };
      process!.capabilities!.inheritable = ['CAP_CHOWN'];
      process!.capabilities!.ambient = ['CAP_CHOWN'];
      process!.rlimits = [{ type: 'RLIMIT_CORE', soft: 0, hard: 0 }];
      process!.oomScoreAdj = 500;
      process!.ioPriority = { class: 'IOPRIO_CLASS_BE', priority: 4 };
      process!.scheduler = { policy: 'SCHED_BATCH' };
      process!.execCPUAffinity = { initial: '0', final: '0' };
    });
  }

  const overlay = (): { type: string; source: string; options: string[] } => ({
    type: 'overlay',
    source: 'overlay',
    options: [
      `lowerdir=${lab.rootfs}`,
      `upperdir=${join(lab.directory, 'upper')}`,
      `workdir=${join(lab.directory, 'work')}`,
      ...(variant === 'in a user namespace' ? ['idmap'] : []),
    ],
  });

  async function create(signal?: AbortSignal): Promise<Container> {
    return lab.runtime.create('c', {
      spec: everything(),
      rootfs: [overlay()],
      stdio: { terminal: true, log: { path: join(lab.directory, 'log'), format: 'json-file' } },
      ...(signal ? { signal } : {}),
    });
  }

  /** The plan that {@link create} makes. */
  async function thePlan(): Promise<Plan> {
    let seen: Plan = [];
    wire.change = (plan) => (seen = plan as Plan);
    await (await create()).delete({ force: true });
    return seen;
  }

  /** An operation of a phase that fails, whatever came before. */
  function failing(phase: number): Operation {
    const missing = '/does/not/exist';
    if (phase === 1) return ['CGROUP_BIRTH', missing];
    return phase === 2 ? ['CGROUP_JOIN', missing] : ['WORKING_DIRECTORY', missing];
  }

  const inserted = (plan: Plan, at: number, operation: Operation): Plan => [
    ...plan.slice(0, at),
    operation,
    ...plan.slice(at),
  ];

  it('is tried with a plan that has every kind of operation', async () => {
    const names = new Set<OperationName>();
    for (variant of VARIANTS) for (const [name] of await thePlan()) names.add(name);
    const missing = (Object.keys(OPERATIONS) as OperationName[]).filter(
      (name) => !names.has(name) && !ELSEWHERE.includes(name),
    );
    expect(missing.toSorted()).toEqual([
      // with version 2 alone nobody joins a cgroup after birth
      ...(existsSync('/sys/fs/cgroup/cgroup.controllers') ? ['CGROUP_JOIN'] : []),
      // what is mounted anew, and can be mapped, is the tmpfs
      ...(kernelHas(6, 3) ? [] : ['MAPPED']),
    ]);
    await expectClean('the whole plan');
  });

  it.each(VARIANTS)('before any operation of the plan leaves nothing, %s', async (made) => {
    variant = made;
    const plan = await thePlan();
    const last = ofInterest(plan, 'GATE');
    for (let at = 0; at <= last; at++) {
      const operation = failing(phaseOf(plan[at]!));
      wire.change = (original) => inserted(original as Plan, at, operation);
      await expect(create(), `before ${plan[at]![0]}`).rejects.toMatchObject({
        code: 'SETUP_FAILED',
        step: operation[0],
        errnoCode: 'ENOENT',
      });
      await expectClean(`before ${plan[at]![0]}`);
    }
  });

  it('after the start is told to who started it, and the container can be deleted', async () => {
    const plan = await thePlan();
    const gate = plan.findIndex(([name]) => name === 'GATE');
    for (let at = gate + 1; at < plan.length; at++) {
      wire.change = (original) => inserted(original as Plan, at, failing(3));
      const container = await create();
      await expect(container.start()).rejects.toMatchObject({ code: 'SETUP_FAILED', errnoCode: 'ENOENT' });
      expect(await container.wait()).toMatchObject({ exitCode: 126 });
      await container.delete();
      await expectClean(`before ${plan[at]![0]}`);
    }
  });

  it.each(VARIANTS)('of an exec leaves the container as it was, %s', async (made) => {
    const spec = shellSpec(lab.rootfs, 'sleep 1000', ({ linux }) => {
      if (made === 'by root') return;
      const maps = [{ containerID: 0, hostID: 100_000, size: 65_536 }];
      linux!.namespaces!.push({ type: 'user' });
      Object.assign(linux!, { uidMappings: maps, gidMappings: maps });
    });
    const container = await lab.runtime.create('c', { spec });
    await container.start();
    const exec = { args: ['true'], env: ['PATH=/bin'], stdio: { terminal: true } };
    let plan: Plan = [];
    wire.change = (original) => (plan = original as Plan);
    {
      await using process = await container.exec(exec);
      await process.wait();
    }
    // the first operation says how to report
    for (let at = 1; at < plan.length; at++) {
      wire.change = (original) => inserted(original as Plan, at, failing(phaseOf(plan[at]!)));
      await expect(container.exec(exec), `before ${plan[at]![0]}`).rejects.toMatchObject({
        code: 'SETUP_FAILED',
        errnoCode: 'ENOENT',
      });
      await expect.poll(() => container.pids(), { interval: 2 }).toEqual([container.pid]);
      expect(readdirSync(join(lab.stateDirectory, 'c/exec'))).toEqual([]);
    }
    await container.delete({ force: true });
    await expectClean('exec');
  });

  /** Stops a process of phase 2 before an operation: it waits for a reader of the fifo. */
  function stopping(plan: Plan, at: number): Plan {
    const pivot = plan.findIndex(([name]) => name === 'PIVOT');
    return inserted(plan, at, ['CGROUP_JOIN', at > pivot ? '/fifo' : join(lab.directory, 'fifo')]);
  }

  function waitsForReader(pid: string): boolean {
    try {
      return readFileSync(`/proc/${pid}/wchan`, 'utf8').includes('wait_for_partner');
    } catch (error) {
      // the stage has just made its child
      if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return false;
      throw error;
    }
  }

  /**
   * The operations of a plan that a test goes through: of a container in a user namespace those that only it has, for
   * the others are the same again.
   */
  const ofInterest = (plan: Plan, until: OperationName): number => {
    const child = plan.findIndex(([name]) => name === 'CHILD');
    if (child >= 0 && !process.env['TARE_TEST_FULL']) return child + 2;
    return plan.findIndex(([name]) => name === until);
  };

  /** Waits until the container's process is stopped there, and answers with it and its monitor. */
  async function stopped(): Promise<{ init: number; monitor: number }> {
    const found = await vi.waitUntil(
      () => {
        const [monitor, ...others] = children().map(Number);
        if (monitor === undefined || others.length > 0) return undefined;
        const [init] = readFileSync(`/proc/${monitor}/task/${monitor}/children`, 'utf8')
          .split(' ')
          .filter(Boolean);
        if (init === undefined) return undefined;
        return waitsForReader(init) ? { init: Number(init), monitor } : undefined;
      },
      { interval: 1, timeout: 5000 },
    );
    return found!;
  }

  const DEATHS = VARIANTS.flatMap((made) =>
    (['init', 'monitor', 'caller'] as const).map((who) => ({ who, made })),
  );
  it.each(DEATHS)(
    'by the end of the $who at any operation in the new namespaces leaves nothing, $made',
    async ({ who, made }) => {
      variant = made;
      execFileSync('sh', ['-c', `[ -p "$1" ] || mkfifo -m 666 "$1"`, 'sh', join(lab.rootfs, 'fifo')]);
      const plan = await thePlan();
      for (let at = 0; at <= ofInterest(plan, 'EXEC'); at++) {
        if (phaseOf(plan[at]!) !== 2) continue;
        wire.change = (original) => stopping(original as Plan, at);
        const abort = new AbortController();
        const creating = create(abort.signal);
        const outcome = expect(creating, `before ${plan[at]![0]}`).rejects.toThrow(
          {
            init: /killed while it was being set up/,
            monitor: /the monitor ended/,
            caller: /changed my mind/,
          }[who],
        );
        const { init, monitor } = await stopped();
        if (who === 'caller') abort.abort(new Error('changed my mind'));
        else process.kill(who === 'init' ? init : monitor, 'SIGKILL');
        await outcome;
        await expectClean(`before ${plan[at]![0]}`);
      }
    },
    60_000,
  );

  it('for want of a descriptor leaves nothing, at whichever step they run out', async () => {
    const input: Input = {
      runtime: { stateDirectory: lab.stateDirectory, cgroupRoot: lab.cgroupRoot },
      container: { spec: shellSpec(lab.rootfs, 'sleep 1000'), stdio: { terminal: true } },
      folders: [lab.stateDirectory, ...cgroupFolders(lab.cgroupRoot)],
    };
    const program = join(import.meta.dirname, 'lab/out-of-descriptors.ts');
    const node = [process.execPath, ...process.execArgv, program, JSON.stringify(input)];
    // a process of its own, with a limit that is soon reached
    const { stdout, stderr } = await run('sh', ['-c', 'ulimit -n 100; exec "$@"', 'sh', ...node]);
    expect(stderr).toBe('');
    const attempts = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Attempt);
    for (const attempt of attempts) expect(attempt).toMatchObject({ left: [], leaked: 0 });
    for (const { outcome } of attempts.slice(0, -1))
      expect(outcome).toMatch(/EMFILE|CGROUP_FAILED|SETUP_FAILED/);
    // state, cgroups, plan, sockets, monitor: each needs some
    expect(attempts.length).toBeGreaterThan(5);
  });

  it('by a cgroup that somebody else lives in leaves nothing, in whichever hierarchy that is', async () => {
    for (const folder of cgroupFolders(`${lab.cgroupRoot}/c`)) {
      mkdirSync(folder, { recursive: true });
      // a version 1 cpuset takes nobody before it has processors
      for (const file of ['cpuset.cpus', 'cpuset.mems']) {
        for (const level of [dirname(folder), folder]) {
          if (existsSync(join(level, 'tasks')) && existsSync(join(level, file))) {
            writeFileSync(join(level, file), readFileSync(join(dirname(level), file)));
          }
        }
      }
      const other = spawn('sleep', ['1000']);
      writeFileSync(join(folder, 'cgroup.procs'), String(other.pid));
      try {
        await expect(create(), folder).rejects.toMatchObject({ code: 'ALREADY_EXISTS', path: folder });
        expect(leftovers(lab)).toEqual([folder]);
      } finally {
        other.kill('SIGKILL');
        await once(other, 'exit');
        await vi.waitUntil(() => (rmdirSync(folder), true), { interval: 2 });
      }
      await expectClean(folder);
    }
  });

  it('by a state directory that cannot be had makes nothing', async () => {
    const file = join(lab.directory, 'file');
    writeFileSync(file, '');
    const runtime = createNativeRuntime({ stateDirectory: join(file, 'state'), cgroupRoot: lab.cgroupRoot });
    await expect(runtime.create('c', { spec: everything() })).rejects.toMatchObject({ code: 'ENOTDIR' });
    await expectClean('state');
  });
});

import { describe, expect, it } from 'vitest';

import { compileContainer, compileExec } from '../../src/plan/compile.ts';
import type { PlanContext } from '../../src/plan/context.ts';
import type { OperationName, Plan } from '../../src/plan/operations.ts';
import { formatPlan } from '../../src/plan/operations.ts';
import { parseSpec } from '../../src/plan/validate.ts';
import { defaultSpec } from '../../src/spec/index.ts';
import type { Spec } from '../../src/spec/index.ts';
import { CONTEXT as context, ROOT } from './context.ts';

const noCgroups = (spec: Spec): Spec => ({
  ...spec,
  mounts: spec.mounts!.filter(({ type }) => type !== 'cgroup'),
});

function compile(change: (spec: Spec) => void = () => {}, more: Partial<PlanContext> = {}): Plan {
  const spec = noCgroups(defaultSpec(['true']));
  spec.root = { path: '/image' };
  change(spec);
  return compileContainer(parseSpec(spec), { ...context, ...more });
}

function named(plan: Plan, name: OperationName): unknown[][] {
  return plan.filter(([other]) => other === name).map(([, ...fields]) => fields);
}

describe('the plan of a container', () => {
  it('refuses device numbers that would become those of another device', () => {
    for (const [major, minor] of [
      [2 ** 32 + 1, 3],
      [1, 2 ** 32 + 3],
      [0x1000, 0],
    ] as const) {
      const change = (spec: Spec): void =>
        void (spec.linux!.devices = [{ type: 'c', path: '/dev/x', major, minor }]);
      expect(() => compile(change)).toThrow(
        expect.objectContaining({ code: 'INVALID_SPEC', field: 'linux.devices[0]' }),
      );
    }
  });

  it('leaves the session keyring, and does without a pivot, when asked to', () => {
    const stdio = ([, flags]: Plan[number]): unknown => flags;
    expect(stdio(compile()[0]!)).toBe(0);
    const plan = compile(() => {}, { newKeyring: false, pivot: false, lookUp: true });
    expect(stdio(plan[0]!)).toBe(256);
    const names = plan.map(([name]) => name);
    expect(names).toContain('CHANGE_ROOT');
    expect(names).not.toContain('PIVOT');
    expect(names.indexOf('PROGRAM')).toBe(names.indexOf('GATE') - 1);
  });

  it('reads as what will be done', () => {
    const plan = compile((spec) => {
      spec.mounts = [
        { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
      ];
      spec.hostname = 'box';
      spec.linux!.maskedPaths = ['/proc/keys'];
      spec.linux!.readonlyPaths = ['/proc/sys'];
      spec.root!.readonly = true;
    });
    expect(formatPlan(plan.filter(([name]) => name !== 'DEVICE' && name !== 'SYMLINK'))).toBe(
      `\
STDIO flags=0x0 columns=0 rows=0
NAMESPACES cloneFlags=0x6c020000
CGROUP_NAMESPACE ${''}
LOOPBACK_UP ${''}
TREE_OPEN slot=0 path="/image" recursive=1
INHERITED_PROPAGATION flags=0x44000
SCRATCH directory="/run/x"
ROOT_TREE slot=0 attributes=0x0 place="/"
MOUNT type="proc" source="proc" destination="/proc" options=[] attributes=0xe propagation=262144 flags=0x1
DIRECTORY path="/"
READONLY path="/proc/sys"
MASK path="/proc/keys"
ATTRIBUTES path="/" set=0x1 clear=0x0 recursive=0
PIVOT ${''}
HOSTNAME name="box"
WORKING_DIRECTORY path="/"
BOUNDING capabilities=0xa80425fb
USER uid=0 gid=0 groups=<0 bytes> flags=0x0
UMASK mask=022
CAPABILITIES effective=0xa80425fb permitted=0xa80425fb inheritable=0x0
GATE ${''}
NO_NEW_PRIVILEGES ${''}
EXEC arguments=["true"] environment=["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
`.replaceAll(/ $/gm, ''),
    );
  });

  it('opens everything of the host before it mounts anything', () => {
    const plan = compile((spec) =>
      spec.mounts!.push(
        { destination: '/a', type: 'bind', source: '/host/a', options: ['rbind', 'ro'] },
        { destination: 'b//../c/', source: '/host/b', options: ['bind', 'rslave'] },
      ),
    );
    const names = plan.map(([name]) => name);
    expect(names.lastIndexOf('TREE_OPEN')).toBeLessThan(names.indexOf('INHERITED_PROPAGATION'));
    expect(named(plan, 'TREE_OPEN')).toEqual([
      [0, '/image', 1],
      [1, '/host/a', 1],
      [2, '/host/b', 0],
    ]);
    expect(named(plan, 'BIND')).toEqual([
      [1, '/a', 1n, 0n, 0n, 0n, 1 << 18, 0],
      [2, '/c', 0n, 0n, 0n, 0n, 1 << 19, 0],
    ]);
  });

  it('takes the layers of an overlay one by one, however they are written', () => {
    const options = [String.raw`lowerdir=/a:/b\:c`, 'lowerdir=/d', 'upperdir=/u', 'workdir=/w', 'volatile'];
    const plan = compile(() => {}, { rootfs: [{ type: 'overlay', source: 'overlay', options }] });
    expect(named(plan, 'ROOT_OVERLAY')).toEqual([
      [['/a', '/b:c', '/d'], ['upperdir=/u', 'workdir=/w', 'volatile'], 0n],
    ]);
  });

  it('joins the namespaces that have a path, the pid namespace through the monitor', () => {
    const plan = compile((spec) => {
      spec.linux!.namespaces = [
        { type: 'mount' },
        { type: 'pid', path: '/proc/1/ns/pid' },
        { type: 'network', path: '/run/netns/x' },
      ];
    });
    expect(named(plan, 'NAMESPACES')).toEqual([[0x20000]]);
    expect(named(plan, 'PID_NAMESPACE')).toEqual([['/proc/1/ns/pid']]);
    expect(named(plan, 'NAMESPACE_JOIN')).toEqual([[0x40000000, '/run/netns/x']]);
    expect(named(plan, 'LOOPBACK_UP')).toEqual([]);
  });

  it('mounts version 2 of cgroups as such, and the directories of version 1 each by itself', () => {
    const cgroups = {
      tasks: [],
      birth: '/cg/x',
      oomEvents: '/cg/x/memory.events',
      unified: true,
      hierarchies: [],
    };
    const mount = {
      destination: '/sys/fs/cgroup',
      type: 'cgroup',
      source: 'cgroup',
      options: ['ro', 'nosuid'],
    };
    const unified = compile((spec) => spec.mounts!.push(mount), { cgroups });
    expect(named(unified, 'MOUNT').at(-1)?.slice(0, 3)).toEqual(['cgroup2', 'cgroup', '/sys/fs/cgroup']);
    expect(named(unified, 'CGROUP_BIRTH')).toEqual([['/cg/x']]);

    const hierarchies = [{ name: 'cpu,cpuacct', directory: '/cg/cpu,cpuacct/x', links: ['cpu', 'cpuacct'] }];
    const tasks = ['/cg/cpu,cpuacct/x/tasks'];
    const v1 = compile((spec) => spec.mounts!.push(mount), {
      cgroups: { ...cgroups, tasks, unified: false, hierarchies },
    });
    expect(named(v1, 'CGROUP_JOIN')).toEqual([tasks]);
    expect(named(v1, 'BIND').map(([, destination]) => destination)).toEqual(['/sys/fs/cgroup/cpu,cpuacct']);
    expect(named(v1, 'SYMLINK').slice(-2)).toEqual([
      ['cpu,cpuacct', '/sys/fs/cgroup/cpu'],
      ['cpu,cpuacct', '/sys/fs/cgroup/cpuacct'],
    ]);
  });

  it('makes the devices of the spec in place of the default ones of that name, and none in a /dev of the host', () => {
    const own = { type: 'c' as const, path: '/dev/null', major: 9, minor: 9 };
    const plan = compile((spec) => (spec.linux!.devices = [own]));
    expect(named(plan, 'DEVICE').filter(([path]) => path === '/dev/null')).toEqual([
      ['/dev/null', 0o020666, 9, 9, 0, 0],
    ]);
    const bound = compile((spec) => {
      spec.mounts = [{ destination: '/dev', type: 'bind', source: '/dev', options: ['rbind'] }];
    });
    expect(named(bound, 'DEVICE')).toEqual([]);
  });

  it('gives no capability that the caller does not have', () => {
    const plan = compile(() => {}, { caller: { ...ROOT, capabilities: 0x1n } });
    expect(named(plan, 'BOUNDING')).toEqual([[1n]]);
    expect(named(plan, 'CAPABILITIES')).toEqual([[1n, 1n, 0n]]);
  });

  it('keeps CAP_SYS_ADMIN until the filter is loaded when there is no no_new_privs', () => {
    const seccomp = { flags: 0, program: new Uint8Array(8) };
    const names = (plan: Plan): string[] =>
      plan.map(([name]) => name).slice(plan.findIndex(([name]) => name === 'GATE'));
    const strict = compile(() => {}, { seccomp });
    expect(names(strict)).toEqual(['GATE', 'NO_NEW_PRIVILEGES', 'SECCOMP', 'EXEC']);
    const loose = compile((spec) => (spec.process!.noNewPrivileges = false), { seccomp });
    expect(names(loose)).toEqual(['GATE', 'SECCOMP', 'CAPABILITIES', 'EXEC']);
    const [before, after] = named(loose, 'CAPABILITIES');
    expect(before![0]).toBe((after![0] as bigint) | (1n << 21n));
  });

  it('is refused for what would reach the host or contradicts itself', () => {
    const cases: [field: string, change: (spec: Spec) => unknown][] = [
      ['process', (spec) => delete spec.process],
      ['root.path', (spec) => (spec.root = { path: 'relative' })],
      ['linux.namespaces', (spec) => (spec.linux!.namespaces = [{ type: 'pid' }])],
      ['linux.namespaces[6]', (spec) => spec.linux!.namespaces!.push({ type: 'pid' })],
      [
        'hostname',
        (spec) => Object.assign(spec, { hostname: 'x', linux: { namespaces: [{ type: 'mount' }] } }),
      ],
      ['linux.sysctl["kernel.panic"]', (spec) => (spec.linux!.sysctl = { 'kernel.panic': '1' })],
      [
        'linux.sysctl["net.core.somaxconn"]',
        (spec) => (spec.linux = { namespaces: [{ type: 'mount' }], sysctl: { 'net.core.somaxconn': '1' } }),
      ],
      ['mounts[6].source', (spec) => spec.mounts!.push({ destination: '/x', type: 'bind', source: 'y' })],
      [
        'mounts[6].destination',
        (spec) => spec.mounts!.push({ destination: '/proc/../proc/1', type: 'tmpfs' }),
      ],
      ['mounts[6].destination', (spec) => spec.mounts!.push({ destination: '/..', type: 'tmpfs' })],
      ['mounts[6].type', (spec) => spec.mounts!.push({ destination: '/proc', type: 'tmpfs' })],
      ['linux.devices[0]', (spec) => (spec.linux!.devices = [{ type: 'c', path: '/dev/x' }])],
    ];
    for (const [field, change] of cases) {
      expect(() => compile((spec) => void change(spec)), field).toThrow(
        expect.objectContaining({ code: 'INVALID_SPEC', field }),
      );
    }
  });

  it('writes sysctls with dots in the names of interfaces', () => {
    const plan = compile(
      (spec) =>
        (spec.linux!.sysctl = {
          'net/ipv4/conf/eth0.1/rp_filter': '0',
          'net.ipv4.conf.eth0/2.rp_filter': '1',
        }),
    );
    expect(named(plan, 'SYSCTL')).toEqual([
      ['net/ipv4/conf/eth0.1/rp_filter', '0'],
      ['net/ipv4/conf/eth0.2/rp_filter', '1'],
    ]);
  });
});

describe('the plan of an exec', () => {
  const spec = parseSpec(noCgroups({ ...defaultSpec(['true']), root: { path: '/image' } }));
  const target = { pid: 42, startTicks: 4711n };

  it('joins the container before anything else, and starts at once', () => {
    const plan = compileExec(spec, { args: ['id'], env: [] }, target, context);
    expect(plan.map(([name]) => name)).toEqual([
      'STDIO',
      'TARGET',
      'TARGET_JOIN',
      'WORKING_DIRECTORY',
      'BOUNDING',
      'USER',
      'UMASK',
      'CAPABILITIES',
      'GATE',
      'NO_NEW_PRIVILEGES',
      'EXEC',
    ]);
    expect(named(plan, 'TARGET')).toEqual([[42, 4711n]]);
    // mount, network, ipc, uts, cgroup: the pid namespace is joined by being born into it
    expect(named(plan, 'TARGET_JOIN')).toEqual([[0x4e020000]]);
  });

  it('holds the output unless nobody is going to attach', () => {
    const flags = (detached: boolean): unknown =>
      named(compileExec(spec, { args: ['id'], env: [], detached }, target, context), 'STDIO')[0]![0];
    expect([flags(false), flags(true)]).toEqual([24, 16]);
  });
});

import { DEFAULT_MASKED_PATHS, specSchema } from '@tare/runtime-native/spec';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import type { ContainerRecord } from '../../src/containers/container.ts';
import { createRequestSchema } from '../../src/containers/create-request.ts';
import { runtimeSpec, type SpecInputs } from '../../src/containers/runtime-spec.ts';
import { decodeJson } from '../../src/http/json.ts';

const id = 'ab'.repeat(32);

function record(changes: Partial<ContainerRecord> = {}): ContainerRecord {
  return {
    id,
    name: 'web',
    created: '2026-01-01T00:00:00Z',
    imageId: 'sha256:1',
    chainId: 'sha256:2',
    path: 'sh',
    args: ['-c', 'true'],
    config: {},
    hostConfig: {},
    mounts: [],
    ...changes,
  };
}

const inputs: SpecInputs = {
  user: { uid: 0, gid: 0, additionalGids: [1], home: '/root' },
  hostname: 'abababababab',
  etcFiles: {
    '/etc/hosts': '/c/hosts',
    '/etc/hostname': '/c/hostname',
    '/etc/resolv.conf': '/c/resolv.conf',
  },
  mountSources: new Map(),
  namespaces: { network: { path: '/run/netns/x' } },
  devices: [],
  deviceNumbers: () => ({ major: 8, minor: 0 }),
  security: { noNewPrivileges: false, seccomp: 'default' },
  seccomp: { defaultAction: 'SCMP_ACT_ERRNO' },
  openFilesMax: 20_000,
  init: undefined,
  cgroupParent: '/tare',
  sharedMemory: undefined,
  appArmorProfile: undefined,
  ids: undefined,
  userNamespace: '',
  linkEnv: [],
};
const spec = (changes: Partial<ContainerRecord> = {}, other: Partial<SpecInputs> = {}) =>
  runtimeSpec(record(changes), { ...inputs, ...other });
const mount = (result: ReturnType<typeof spec>, destination: string) =>
  result.mounts?.filter((entry) => entry.destination === destination);

describe('runtimeSpec', () => {
  it('is a spec that the runtime accepts', () => {
    expect(specSchema.safeParse(spec())).toMatchObject({ success: true });
  });

  it('runs the command with the merged environment and the home of its user', () => {
    expect(spec({ config: { Env: ['A=1'], WorkingDir: '/srv', Tty: true } }).process).toMatchObject({
      terminal: true,
      args: ['sh', '-c', 'true'],
      env: [
        'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
        'HOSTNAME=abababababab',
        'TERM=xterm',
        'A=1',
        'HOME=/root',
      ],
      cwd: '/srv',
      user: { uid: 0, gid: 0, additionalGids: [1] },
    });
    expect(spec({ config: { Env: ['HOME=/h'] } }).process?.env).not.toContain('HOME=/root');
  });

  it('puts an init in front of the command, bound read-only from the host', () => {
    const result = spec({}, { init: '/host/init' });
    expect(result.process?.args).toEqual(['/sbin/docker-init', '--', 'sh', '-c', 'true']);
    expect(mount(result, '/sbin/docker-init')).toEqual([
      { destination: '/sbin/docker-init', type: 'bind', source: '/host/init', options: ['bind', 'ro'] },
    ]);
  });

  it('gives nothing in effect to a process that is not root', () => {
    const { capabilities } = spec(
      {},
      { user: { uid: 1000, gid: 0, additionalGids: [], home: '/' } },
    ).process!;
    expect(capabilities?.effective ?? []).toEqual([]);
    expect(capabilities?.ambient ?? []).toEqual([]);
    expect(capabilities?.bounding).toContain('CAP_CHOWN');
  });

  it('has new namespaces, but for those it shares', () => {
    const types = (other: Partial<SpecInputs>) => spec({}, other).linux!.namespaces;
    expect(types({})).toEqual([
      { type: 'mount' },
      { type: 'pid' },
      { type: 'network', path: '/run/netns/x' },
      { type: 'ipc' },
      { type: 'uts' },
      { type: 'cgroup' },
    ]);
    const shared = spec({}, { namespaces: { network: 'host', pid: 'host', uts: 'host', ipc: 'host' } });
    expect(shared.linux!.namespaces).toEqual([{ type: 'mount' }, { type: 'cgroup' }]);
    expect(shared.hostname).toBeUndefined();
    expect(mount(shared, '/dev/shm')).toMatchObject([{ type: 'bind', source: '/dev/shm' }]);
    expect(shared.linux!.sysctl).toEqual({});
  });

  it('opens ping and low ports in a network namespace of its own, unless told otherwise', () => {
    const own = spec(
      { hostConfig: { Sysctls: { 'net.ipv4.ip_unprivileged_port_start': '1024' } } },
      { namespaces: {} },
    );
    expect(own.linux!.sysctl).toEqual({
      'net.ipv4.ping_group_range': '0 2147483647',
      'net.ipv4.ip_unprivileged_port_start': '1024',
    });
  });

  it('masks what a container must not see, and nothing for a privileged one', () => {
    expect(spec().linux!.maskedPaths).toEqual([...DEFAULT_MASKED_PATHS]);
    expect(spec({ hostConfig: { MaskedPaths: [] } }).linux!.maskedPaths).toEqual([]);
    const privileged = spec({ hostConfig: { Privileged: true } }, { seccomp: undefined });
    expect(privileged.linux).toMatchObject({ maskedPaths: [], readonlyPaths: [] });
    expect(privileged.linux!.seccomp).toBeUndefined();
    expect(privileged.linux!.resources!.devices).toEqual([{ allow: true, access: 'rwm' }]);
    expect(mount(privileged, '/sys')![0]!.options).not.toContain('ro');
  });

  it('mounts the /etc files, read-only with a read-only root, and not over the own ones of a client', () => {
    expect(mount(spec(), '/etc/hosts')).toEqual([
      { destination: '/etc/hosts', type: 'bind', source: '/c/hosts', options: ['rbind', 'rprivate'] },
    ]);
    const readonly = spec({ hostConfig: { ReadonlyRootfs: true } });
    expect(readonly.root!.readonly).toBe(true);
    expect(mount(readonly, '/etc/hosts')![0]!.options).toContain('ro');
    const own = spec({
      mounts: [
        {
          type: 'bind',
          source: '/x',
          destination: '/etc/hosts',
          mode: '',
          readWrite: true,
          propagation: 'rprivate',
        },
      ],
    });
    expect(mount(own, '/etc/hosts')).toMatchObject([{ source: '/x' }]);
  });

  it('makes binds read-only all the way down', () => {
    const result = spec({
      mounts: [
        {
          type: 'bind',
          source: '/a',
          destination: '/a',
          mode: 'ro',
          readWrite: false,
          propagation: 'rslave',
        },
        { type: 'tmpfs', source: '', destination: '/t', mode: '', readWrite: true, propagation: '' },
      ],
      hostConfig: { Tmpfs: { '/u': 'size=1m,exec' } },
    });
    expect(mount(result, '/a')).toMatchObject([{ options: ['rbind', 'rslave', 'rro'] }]);
    expect(mount(result, '/t')).toMatchObject([{ type: 'tmpfs', options: ['nosuid', 'nodev', 'noexec'] }]);
    expect(mount(result, '/u')).toMatchObject([{ options: ['nosuid', 'nodev', 'size=1m', 'exec'] }]);
    expect(result.linux!.rootfsPropagation).toBe('slave');
  });

  it('turns limits into cgroup values', () => {
    const { resources, cgroupsPath } = spec({
      hostConfig: {
        Memory: 67_108_864,
        MemorySwap: -1,
        NanoCpus: 1_500_000_000,
        CpuShares: 512,
        PidsLimit: 50,
        BlkioDeviceReadBps: [{ Path: '/dev/sda', Rate: 1024 }],
        DeviceCgroupRules: ['c 10:* rw'],
      },
    }).linux!;
    expect(resources).toMatchObject({
      memory: { limit: 67_108_864, swap: -1 },
      cpu: { period: 100_000, quota: 150_000, shares: 512 },
      pids: { limit: 50 },
      blockIO: { throttleReadBpsDevice: [{ major: 8, minor: 0, rate: 1024 }] },
    });
    expect(resources!.devices!.at(-1)).toEqual({ allow: true, type: 'c', major: 10, access: 'rw' });
    expect(cgroupsPath).toBe(`/tare/${id}`);
  });

  it('has no /dev/shm without an IPC namespace to use it, and one of the size asked for otherwise', () => {
    expect(mount(spec({ hostConfig: { IpcMode: 'none' } }), '/dev/shm')).toEqual([]);
    expect(mount(spec({ hostConfig: { ShmSize: 1024 } }), '/dev/shm')![0]!.options).toContain('size=1024');
  });

  it('limits open files, and takes ulimits', () => {
    expect(spec().process!.rlimits).toEqual([{ type: 'RLIMIT_NOFILE', soft: 1024, hard: 20_000 }]);
    const own = spec({
      hostConfig: {
        Ulimits: [
          { Name: 'nofile', Soft: 10, Hard: 20 },
          { Name: 'core', Soft: -1, Hard: -1 },
        ],
      },
    });
    expect(own.process!.rlimits).toMatchObject([
      { type: 'RLIMIT_NOFILE', soft: 10, hard: 20 },
      { type: 'RLIMIT_CORE' },
    ]);
    expect(specSchema.safeParse(own)).toMatchObject({ success: true });
  });

  it('is accepted by the runtime for whatever a client may ask for', () => {
    const host = fc.record(
      {
        Privileged: fc.boolean(),
        ReadonlyRootfs: fc.boolean(),
        Memory: fc.integer({ min: 6_291_456, max: 2 ** 40 }),
        MemorySwap: fc.constantFrom(-1, 0, 2 ** 41),
        NanoCpus: fc.integer({ min: 0, max: 2e9 }),
        PidsLimit: fc.integer({ min: -1, max: 1000 }),
        ShmSize: fc.nat(),
        IpcMode: fc.constantFrom('none', 'private', 'host', 'shareable'),
        CapAdd: fc.subarray(['ALL', 'NET_ADMIN', 'SYS_TIME']),
        CapDrop: fc.subarray(['ALL', 'CHOWN']),
        Tmpfs: fc.dictionary(
          fc.stringMatching(/^(\/[a-z]{1,5}){1,3}$/),
          fc.constantFrom('', 'size=1m', 'exec'),
        ),
        Sysctls: fc.constant({ 'net.ipv4.ip_forward': '1' }),
        OomScoreAdj: fc.integer({ min: -1000, max: 1000 }),
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(host, (hostConfig) => {
        const parsed = specSchema.safeParse(spec({ hostConfig }));
        expect(parsed.error?.issues ?? []).toEqual([]);
      }),
    );
  });
});

describe('createRequestSchema', () => {
  it('reads what Go clients send: nulls, strings for lists, any case, unknown members', () => {
    const body = decodeJson(
      JSON.stringify({
        image: 'busybox',
        cmd: 'ls',
        Entrypoint: null,
        attachstdout: true,
        Nonsense: 1,
        hostConfig: { Memory: 67_108_864, PortBindings: { '80/tcp': null }, Binds: null, Devices: [] },
        NetworkingConfig: { EndpointsConfig: { default: null } },
      }),
      createRequestSchema,
    );
    expect(body).toMatchObject({ Image: 'busybox', Cmd: ['ls'], AttachStdout: true });
    expect(body.Entrypoint).toBeUndefined();
    expect(body.HostConfig).toMatchObject({ PortBindings: { '80/tcp': null }, Devices: [] });
    expect(body.HostConfig?.Binds).toBeUndefined();
    expect(body.NetworkingConfig?.EndpointsConfig).toEqual({ default: null });
  });

  it('keeps the largest limits an int64', () => {
    const body = decodeJson('{"HostConfig":{"Memory":9223372036854775807}}', createRequestSchema);
    expect(BigInt(body.HostConfig!.Memory!) < 2n ** 63n).toBe(true);
  });

  it('names the member that is wrong', () => {
    expect(() => decodeJson('{"HostConfig":{"Memory":"lots"}}', createRequestSchema)).toThrow(
      'HostConfig.Memory',
    );
  });
});

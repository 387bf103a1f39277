import { describe, expect, it } from 'vitest';

import { createdState, type ContainerRecord } from '../../src/containers/container.ts';
import { commandText, inspectContainer, listContainer } from '../../src/containers/render.ts';

const id = 'ab'.repeat(32);
const record: ContainerRecord = {
  id,
  name: 'web',
  created: '2026-01-01T00:00:00.5Z',
  imageId: 'sha256:1',
  chainId: undefined,
  path: 'sh',
  args: ['-c', 'echo hi'],
  config: { Image: 'busybox', ExposedPorts: { '80/tcp': {} }, Cmd: ['sh', '-c', 'echo hi'] },
  hostConfig: {
    NetworkMode: 'bridge',
    Binds: ['/a:/b'],
    RestartPolicy: { Name: 'no', MaximumRetryCount: 0 },
  },
  mounts: [
    { type: 'bind', source: '/a', destination: '/b', mode: '', readWrite: true, propagation: 'rprivate' },
    {
      type: 'volume',
      name: 'v',
      source: '/vols/v/_data',
      destination: '/v',
      driver: 'local',
      mode: 'z',
      readWrite: true,
      propagation: '',
    },
  ],
};
const endpoint = {
  id: 'ep',
  networkId: 'net',
  interfaceName: 'eth0',
  hostInterfaceName: 'veth0',
  macAddress: '02:42:ac:11:00:02',
  ipv4Address: '172.17.0.2/16',
  gateway: '172.17.0.1',
  ports: [{ protocol: 'tcp' as const, containerPort: 80, hostIp: '0.0.0.0', hostPort: 8080 }],
};
const running = {
  ...createdState({ bridge: { networkId: 'net', settings: {}, endpoint } }),
  running: true,
  pid: 7,
  startedAt: new Date(Date.now() - 3000).toISOString(),
};
const context = {
  apiVersion: '1.51',
  files: { resolvConf: '/c/resolv.conf', hostname: '/c/hostname', hosts: '/c/hosts' },
  logPath: '/c/x.log',
  execIds: null,
  sandboxKey: '/run/netns/x',
  sandboxId: id,
  driver: 'overlay',
};

describe('inspectContainer', () => {
  it('has null where Go has nil, and [] where it has an empty slice', () => {
    const json = inspectContainer(
      { ...record, config: { Image: 'x', Cmd: ['a'] } },
      createdState({}),
      context,
    );
    expect(json).toMatchObject({
      ExecIDs: null,
      Config: { Volumes: null, Entrypoint: null, OnBuild: null, Env: [], Labels: {} },
      HostConfig: {
        Binds: ['/a:/b'],
        CapAdd: null,
        Devices: [],
        Dns: [],
        PortBindings: {},
        MemorySwappiness: null,
        PidsLimit: null,
        ConsoleSize: [0, 0],
      },
      State: { StartedAt: '0001-01-01T00:00:00Z', FinishedAt: '0001-01-01T00:00:00Z', Status: 'created' },
      NetworkSettings: { Ports: {}, SecondaryIPAddresses: null },
    });
    expect(JSON.stringify(json)).not.toContain('undefined');
  });

  it('shows addresses and ports of a running container, also at the top level', () => {
    expect(inspectContainer(record, running, context)).toMatchObject({
      Name: '/web',
      State: { Status: 'running', Pid: 7 },
      NetworkSettings: {
        IPAddress: '172.17.0.2',
        IPPrefixLen: 16,
        Gateway: '172.17.0.1',
        MacAddress: '02:42:ac:11:00:02',
        Ports: { '80/tcp': [{ HostIp: '0.0.0.0', HostPort: '8080' }] },
        Networks: { bridge: { IPAddress: '172.17.0.2', NetworkID: 'net', EndpointID: 'ep', DNSNames: null } },
      },
      Mounts: [
        { Type: 'bind', Source: '/a', Destination: '/b', Mode: '', RW: true, Propagation: 'rprivate' },
        {
          Type: 'volume',
          Name: 'v',
          Source: '/vols/v/_data',
          Destination: '/v',
          Driver: 'local',
          Mode: 'z',
          RW: true,
          Propagation: '',
        },
      ],
    });
  });

  it('gives a container its names on networks of its users, from API 1.44 on', () => {
    const state = {
      ...running,
      networks: { app: { networkId: 'n', settings: { Aliases: ['db'] }, endpoint } },
    };
    const names = (apiVersion: string) =>
      (
        inspectContainer(record, state, { ...context, apiVersion }) as {
          NetworkSettings: { Networks: { app: { DNSNames: unknown; Aliases: unknown } } };
        }
      ).NetworkSettings.Networks.app;
    expect(names('1.51')).toMatchObject({ Aliases: ['db'], DNSNames: ['web', 'db', 'abababababab'] });
    expect(names('1.43').DNSNames).toBeNull();
  });
});

describe('listContainer', () => {
  it('has the shape of dockerd', () => {
    expect(listContainer(record, running, { apiVersion: '1.45', imageName: 'busybox' })).toEqual({
      Id: id,
      Names: ['/web'],
      Image: 'busybox',
      ImageID: 'sha256:1',
      Command: "sh -c 'echo hi'",
      Created: 1_767_225_600,
      Ports: [{ IP: '0.0.0.0', PrivatePort: 80, PublicPort: 8080, Type: 'tcp' }],
      Labels: {},
      State: 'running',
      Status: 'Up 3 seconds',
      HostConfig: { NetworkMode: 'bridge' },
      NetworkSettings: {
        Networks: {
          bridge: {
            IPAMConfig: null,
            Links: null,
            Aliases: null,
            MacAddress: '02:42:ac:11:00:02',
            DriverOpts: null,
            GwPriority: 0,
            NetworkID: 'net',
            EndpointID: 'ep',
            Gateway: '172.17.0.1',
            IPAddress: '172.17.0.2',
            IPPrefixLen: 16,
            IPv6Gateway: '',
            GlobalIPv6Address: '',
            GlobalIPv6PrefixLen: 0,
            DNSNames: null,
          },
        },
      },
      Mounts: expect.any(Array) as unknown,
    });
  });

  it('has no ports when it does not run, and sizes only when they are not zero', () => {
    expect(
      listContainer(record, createdState({}), {
        apiVersion: '1.45',
        imageName: 'busybox',
        size: { rw: 0, root: 5 },
      }),
    ).toMatchObject({ Ports: [], SizeRootFs: 5, State: 'created', Status: 'Created' });
  });
});

describe('commandText', () => {
  it.each([
    ['sleep', ['300'], 'sleep 300'],
    ['sh', ['-c', 'a b'], "sh -c 'a b'"],
    ['true', [], 'true'],
  ])('%s %j', (path, args, text) => {
    expect(commandText(path, args)).toBe(text);
  });
});

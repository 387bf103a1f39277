/** A small machine for the peer to stand for: two running containers, one that ended, some images, networks, volumes. */
import { frame, type Answer, type Script } from './peer.ts';

const busybox = 'sha256:c93091cdb3f66d42c56614aad1641daa60364958314df861e6921949e39f5cd7';
const hello = 'sha256:4620daeb9d04d059615d68886dc25a15d76c60572d722f2747a38df4ba2f5b21';
const dangling = 'sha256:1f7c125e15ce98fc82bc2f4c08c9bb9c611a7e105c6635e0bc44c6491f31a2f4';
const digest = 'sha256:af6be377753e1651d4946e0ba75d6e4c0a2e3894580fceba93844c3923279f0f';
export const d1 = '61c37758b0f117bff85a0a5dcdacf2498c287180c4bd99cea30ee6e2445d62c8';
const d2 = '0b32ced7537ad51c64ee81ff7b15799fd8aa745b05fd89a663de15fcfa5cb2c3';
const c1 = '4bbc09e8cfb8ac1e47902129b323b5053ce532c55e92e417da3fd7051910e1bc';
export const created = '01454e67ac64b3c3561ae4cc6e992b1721220d04580c63797726ec541601f0b5';

/** Ages are relative, so that a listing reads the same on any day. */
function secondsAgo(seconds: number): number {
  // Half a second of slack on either side: neither client's clock reading may tip the age over.
  return Math.floor(Date.now() / 1000) - seconds;
}

const networks = {
  IPAMConfig: null,
  Links: null,
  Aliases: null,
  MacAddress: '',
  NetworkID: 'bf513e5a337f34e7003db38fe8072b5f2f80fd27992f30f2f2657a39205a649e',
  EndpointID: '',
  Gateway: '',
  IPAddress: '',
  IPPrefixLen: 0,
  IPv6Gateway: '',
  GlobalIPv6Address: '',
  GlobalIPv6PrefixLen: 0,
  DriverOpts: null,
  DNSNames: null,
};

function summary(fields: Record<string, unknown>): Record<string, unknown> {
  return {
    Image: 'busybox',
    ImageID: busybox,
    Ports: [],
    Labels: {},
    HostConfig: { NetworkMode: 'bridge' },
    NetworkSettings: { Networks: { bridge: networks } },
    Mounts: [],
    ...fields,
  };
}

export function containers(): Record<string, unknown>[] {
  return [
    summary({
      Id: d2,
      Names: ['/d2'],
      Command: 'sleep 300',
      Created: secondsAgo(3 * 60 * 60),
      State: 'running',
      Status: 'Up 3 hours',
      NetworkSettings: { Networks: { none: networks } },
      SizeRootFs: 4_145_350,
      Ports: [
        { IP: '0.0.0.0', PrivatePort: 80, PublicPort: 80, Type: 'tcp' },
        { IP: '0.0.0.0', PrivatePort: 81, PublicPort: 81, Type: 'tcp' },
        { IP: '::', PrivatePort: 80, PublicPort: 80, Type: 'tcp' },
        { PrivatePort: 443, Type: 'tcp' },
        { IP: '0.0.0.0', PrivatePort: 53, PublicPort: 5353, Type: 'udp' },
      ],
    }),
    summary({
      Id: d1,
      Names: ['/d1', '/other/alias'],
      Command: "sh -c 'while :; do echo tick; sleep 1; done'",
      Created: secondsAgo(26 * 60 * 60),
      State: 'running',
      Status: 'Up 26 hours (healthy)',
      Ports: [{ IP: '127.0.0.1', PrivatePort: 8080, PublicPort: 18_081, Type: 'tcp' }],
      Labels: { a: 'b', 'com.example.role': 'db' },
      SizeRw: 442,
      SizeRootFs: 4_145_350,
      Mounts: [
        {
          Type: 'volume',
          Name: 'a-volume-with-a-long-name',
          Source: '/var/lib/docker/volumes/a-volume-with-a-long-name/_data',
          Destination: '/v',
          Driver: 'local',
          Mode: 'z',
          RW: true,
          Propagation: '',
        },
      ],
    }),
  ];
}

const ended = (): Record<string, unknown> =>
  summary({
    Id: c1,
    Names: ['/c1'],
    Image: busybox,
    Command: "sh -c 'echo out; echo err >&2; exit 3'",
    Created: secondsAgo(90),
    State: 'exited',
    Status: 'Exited (3) About a minute ago',
  });

export function images(): Record<string, unknown>[] {
  const image = (fields: Record<string, unknown>): Record<string, unknown> => ({
    Containers: -1,
    Labels: null,
    ParentId: '',
    RepoDigests: [],
    SharedSize: -1,
    ...fields,
  });
  return [
    image({
      Id: hello,
      Created: secondsAgo(12 * 60),
      RepoTags: ['localhost:5000/a/hello:latest'],
      Size: 682_696,
    }),
    image({ Id: dangling, Created: secondsAgo(5 * 24 * 3600), RepoTags: [], Size: 266_720_513 }),
    image({
      Id: busybox,
      Created: secondsAgo(400 * 24 * 3600),
      RepoTags: ['busybox:glibc', 'busybox:latest'],
      RepoDigests: [`busybox@${digest}`],
      Size: 4_145_350,
    }),
  ];
}

/** A container's inspection; numbers and escapes that a careless client would change are in it on purpose. */
export const inspection = `{"Id":"${d1}","Created":"2026-11-23T20:56:41.225432816Z","Path":"sh","Args":["-c","echo \\u003e é <b>"],"State":{"Status":"running","Running":true,"Paused":false,"Restarting":false,"OOMKilled":false,"Dead":false,"Pid":25114,"ExitCode":0,"Error":"","StartedAt":"2026-11-23T20:56:41.671383679Z","FinishedAt":"0001-01-01T00:00:00Z"},"Image":"${busybox}","Name":"/d1","RestartCount":0,"Mounts":[],"HostConfig":{"Binds":null,"AutoRemove":false,"Memory":9223372036854771712,"NanoCpus":500000000,"Ulimits":[]},"Config":{"Hostname":"61c37758b0f1","Tty":false,"OpenStdin":false,"Env":["E=1","PATH=/bin"],"Cmd":["sh","-c","x"],"Image":"busybox","Labels":{"a":"b","com.example/role":"db"}},"NetworkSettings":{"Ports":{"8080/tcp":[{"HostIp":"127.0.0.1","HostPort":"18081"}],"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"80"},{"HostIp":"::","HostPort":"80"}],"443/tcp":null},"Networks":{"bridge":{"IPAddress":"172.17.0.2","NetworkID":"bf513e5a337f"}}}}`;

const event = (action: string, nano: string, attributes: string): string =>
  `{"status":"${action}","id":"${d1}","from":"busybox","Type":"container","Action":"${action}","Actor":{"ID":"${d1}","Attributes":${attributes}},"scope":"local","time":1795467441,"timeNano":${nano}}`;

const sample = {
  id: d1,
  name: '/d1',
  read: '2026-11-23T20:56:59.206547656Z',
  preread: '2026-11-23T20:56:58.199898619Z',
  pids_stats: { current: 8 },
  blkio_stats: {
    io_service_bytes_recursive: [
      { major: 254, minor: 0, op: 'read', value: 1_234_567 },
      { major: 254, minor: 0, op: 'write', value: 4096 },
    ],
  },
  num_procs: 0,
  storage_stats: {},
  cpu_stats: {
    cpu_usage: { total_usage: 760_105_779, usage_in_kernelmode: 310_000_000, usage_in_usermode: 440_000_000 },
    system_cpu_usage: 17_580_510_000_000,
    online_cpus: 2,
    throttling_data: { periods: 71, throttled_periods: 0, throttled_time: 0 },
  },
  precpu_stats: {
    cpu_usage: { total_usage: 757_000_000, usage_in_kernelmode: 310_000_000, usage_in_usermode: 440_000_000 },
    system_cpu_usage: 17_578_500_000_000,
    online_cpus: 2,
    throttling_data: { periods: 0, throttled_periods: 0, throttled_time: 0 },
  },
  memory_stats: { usage: 1_536_000, limit: 67_108_864, stats: { inactive_file: 499_712 } },
  networks: { eth0: { rx_bytes: 1090, tx_bytes: 12, rx_packets: 1, tx_packets: 1 } },
};

const networkList = ['host', 'none', 'bridge', 'n10', 'n2'].map((Name, position) => ({
  Name,
  Id: `${position}f513e5a337f34e7003db38fe8072b5f2f80fd27992f30f2f2657a39205a649e`,
  Created: '2026-11-23T18:57:10.204122363Z',
  Scope: 'local',
  Driver: Name === 'none' ? 'null' : Name === 'host' ? 'host' : 'bridge',
  EnableIPv4: true,
  EnableIPv6: false,
  IPAM: { Driver: 'default', Options: null, Config: null },
  Internal: Name === 'n2',
  Attachable: false,
  Ingress: false,
  ConfigFrom: { Network: '' },
  ConfigOnly: false,
  Containers: {},
  Options: {},
  Labels: Name === 'n2' ? { n: '1' } : {},
}));

const volumeList = ['zz', 'ae78355f14ef52a98a6251690b0886f047067384e33e6ad163054a8973a39f23', 'v2'].map(
  (Name) => ({
    CreatedAt: '2026-11-23T20:57:18Z',
    Driver: 'local',
    Labels: Name === 'v2' ? { v: '1' } : null,
    Mountpoint: `/var/lib/docker/volumes/${Name}/_data`,
    Name,
    Options: null,
    Scope: 'local',
  }),
);

const version = {
  Platform: { Name: '' },
  Components: [
    {
      Name: 'Engine',
      Version: '28.5.2',
      Details: {
        ApiVersion: '1.51',
        Arch: 'amd64',
        BuildTime: '2026-08-03T05:35:48.000000000+00:00',
        Experimental: 'false',
        GitCommit: '411e817',
        GoVersion: 'go1.24.4',
        KernelVersion: '6.18.44',
        MinAPIVersion: '1.24',
        Os: 'linux',
      },
    },
    { Name: 'containerd', Version: '1.7.24', Details: { GitCommit: 'abc' } },
    { Name: 'runc', Version: '1.1.5', Details: { GitCommit: 'def' } },
  ],
  Version: '28.5.2',
  ApiVersion: '1.51',
  MinAPIVersion: '1.24',
  GitCommit: '411e817',
  GoVersion: 'go1.24.4',
  Os: 'linux',
  Arch: 'amd64',
  KernelVersion: '6.18.44',
  BuildTime: '2026-08-03T05:35:48.000000000+00:00',
};

const info = {
  ID: '3713339d-63b7-422d-bbaf-ac5de3f04ac1',
  Containers: 3,
  ContainersRunning: 2,
  ContainersPaused: 0,
  ContainersStopped: 1,
  Images: 32,
  Driver: 'overlay2',
  DriverStatus: [
    ['Backing Filesystem', 'extfs'],
    ['Supports d_type', 'true'],
  ],
  Plugins: {
    Volume: ['local'],
    Network: ['bridge', 'host', 'null'],
    Authorization: null,
    Log: ['json-file', 'local'],
  },
  MemoryLimit: true,
  SwapLimit: true,
  CpuCfsPeriod: true,
  CpuCfsQuota: true,
  CPUShares: true,
  CPUSet: true,
  PidsLimit: true,
  IPv4Forwarding: true,
  Debug: false,
  OomKillDisable: true,
  NFd: 27,
  NGoroutines: 138,
  SystemTime: '2026-11-23T20:56:36.59265715Z',
  LoggingDriver: 'json-file',
  CgroupDriver: 'cgroupfs',
  CgroupVersion: '2',
  NEventsListener: 0,
  KernelVersion: '6.18.44',
  OperatingSystem: 'Debian GNU/Linux 12 (bookworm)',
  OSVersion: '12',
  OSType: 'linux',
  Architecture: 'x86_64',
  IndexServerAddress: 'https://index.docker.io/v1/',
  RegistryConfig: {
    InsecureRegistryCIDRs: ['127.0.0.0/8', '::1/128'],
    IndexConfigs: {
      '127.0.0.1:5055': { Name: '127.0.0.1:5055', Mirrors: [], Secure: false, Official: false },
      'docker.io': { Name: 'docker.io', Mirrors: [], Secure: true, Official: true },
    },
    Mirrors: ['http://mirror.example/'],
  },
  NCPU: 2,
  MemTotal: 25_276_510_208,
  GenericResources: null,
  DockerRootDir: '/var/lib/docker',
  HttpProxy: '',
  HttpsProxy: '',
  NoProxy: '',
  Name: 'vm',
  Labels: ['a=b'],
  ExperimentalBuild: false,
  ServerVersion: '28.5.2',
  Runtimes: { runc: { path: 'runc' } },
  DefaultRuntime: 'runc',
  Swarm: {
    NodeID: '',
    NodeAddr: '',
    LocalNodeState: 'inactive',
    ControlAvailable: false,
    Error: '',
    RemoteManagers: null,
  },
  LiveRestoreEnabled: false,
  Isolation: '',
  InitBinary: 'docker-init',
  ContainerdCommit: { ID: '1.7.24~ds1' },
  RuncCommit: { ID: '1.1.5+ds1' },
  InitCommit: { ID: '' },
  SecurityOptions: ['name=seccomp,profile=builtin', 'name=cgroupns'],
  DefaultAddressPools: [{ Base: '172.17.0.0/12', Size: 20 }],
  CDISpecDirs: ['/etc/cdi', '/var/run/cdi'],
  Warnings: ['WARNING: bridge-nf-call-iptables is disabled'],
};

const diskUsage = (): unknown => ({
  LayersSize: 399_824_573,
  Images: images().map((image, position) => ({
    ...image,
    Containers: position === 2 ? 1 : 0,
    SharedSize: position === 2 ? 0 : 100,
  })),
  Containers: [...containers(), { ...ended(), SizeRw: 1000, SizeRootFs: 5000 }],
  Volumes: volumeList.map((volume, position) => ({
    ...volume,
    UsageData: { RefCount: position, Size: position * 1000 },
  })),
  BuildCache: [],
  BuilderSize: 0,
});

const pull = [
  '{"status":"Pulling from library/busybox","id":"1.37"}',
  '{"status":"Pulling fs layer","progressDetail":{},"id":"802a62dedb48"}',
  '{"status":"Downloading","progressDetail":{"current":32768,"total":2107336},"progress":"[>   ]  32.77kB/2.107MB","id":"802a62dedb48"}',
  '{"status":"Verifying Checksum","progressDetail":{},"id":"802a62dedb48"}',
  '{"status":"Download complete","progressDetail":{},"id":"802a62dedb48"}',
  '{"status":"Extracting","progressDetail":{"current":2107336,"total":2107336},"progress":"[==>]","id":"802a62dedb48"}',
  '{"status":"Pull complete","progressDetail":{},"id":"802a62dedb48"}',
  `{"status":"Digest: ${digest}"}`,
  '{"status":"Status: Downloaded newer image for busybox:1.37"}',
];

const missing = (what: string): Answer => ({ status: 404, json: { message: what } });

/** Containers whose start fails, by image, and the daemon's words. */
const startFailures: Record<string, string> = {
  'no-program':
    'failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: "nosuch": executable file not found in $PATH: unknown',
  'not-executable':
    'failed to create task for container: OCI runtime create failed: exec: "/etc/passwd": permission denied: unknown',
  'port-taken':
    'driver failed programming external connectivity: Bind for 0.0.0.0:80 failed: port is already allocated',
};

/** A fresh machine's answers. */
export function machine(): Script {
  let image = '';
  let pulled = false;
  let exit = Promise.withResolvers<unknown>();
  let started = Promise.withResolvers<void>();
  return (seen, path) => {
    const query = new URLSearchParams(seen.target.split('?')[1] ?? '');
    const [, id = ''] = /^\w+ \/containers\/([^/]+)/.exec(path) ?? [];
    switch (path) {
      case 'HEAD /_ping':
      case 'GET /_ping':
        return { status: 200 };
      case 'GET /version':
        return { json: version };
      case 'GET /info':
        return { json: info };
      case 'GET /containers/json': {
        const all = query.get('all') === '1';
        return {
          json: all
            ? [ended(), ...containers()]
            : containers().map((row) => (query.has('size') ? row : without(row))),
        };
      }
      case 'GET /images/json':
        return { json: images() };
      case 'GET /networks':
        return { json: networkList };
      case 'GET /volumes':
        return { json: { Volumes: volumeList, Warnings: null } };
      case 'GET /system/df':
        return { json: diskUsage() };
      case 'GET /events':
        return {
          lines: [
            event(
              'exec_create: /bin/sh -c true',
              '1795467441293129247',
              '{"image":"busybox","a":"b","name":"d1"}',
            ),
            event('start', '1795467441000000001', '{}'),
          ],
        };
      case 'POST /images/create':
        if (query.get('fromImage')?.includes('nosuch')) {
          return missing(
            "pull access denied for nosuch/image, repository does not exist or may require 'docker login': denied: requested access to the resource is denied",
          );
        }
        if (query.get('fromImage')?.includes('halfway')) {
          return {
            lines: [
              ...pull.slice(0, 2),
              '{"errorDetail":{"message":"unexpected EOF"},"error":"unexpected EOF"}',
            ],
          };
        }
        pulled = true;
        return { lines: pull };
      case 'POST /images/busybox/tag':
        return { status: 201 };
      case 'GET /images/busybox/history':
        return {
          json: [
            {
              Comment: '',
              Created: secondsAgo(3600),
              CreatedBy: `CMD ["sh"] ${'x'.repeat(60)}`,
              Id: busybox,
              Size: 0,
              Tags: ['busybox:latest'],
            },
            {
              Comment: 'Imported from -',
              Created: secondsAgo(7200),
              CreatedBy: '',
              Id: '<missing>',
              Size: 4_145_350,
              Tags: null,
            },
          ],
        };
      case 'GET /images/busybox/json':
        return { json: `{"Id":"${busybox}","RepoTags":["busybox:latest"],"Config":{"Labels":null}}` };
      case 'DELETE /images/busybox:1.37':
        return {
          json: [{ Untagged: 'busybox:1.37' }, { Untagged: `busybox@${digest}` }, { Deleted: busybox }],
        };
      case 'POST /containers/create': {
        ({ Image: image } = JSON.parse(seen.body) as { Image: string });
        exit = Promise.withResolvers();
        started = Promise.withResolvers();
        if (image === 'absent' && !pulled) return missing('No such image: absent:latest');
        if (image === 'taken') {
          return { status: 409, json: { message: 'Conflict. The container name "/c1" is already in use.' } };
        }
        return {
          status: 201,
          json: { Id: created, Warnings: image === 'warned' ? ['Your kernel does not support swap.'] : [] },
        };
      }
      case `POST /containers/${created}/attach`:
        return {
          async talk(socket) {
            await started.promise;
            let input = '';
            if (query.get('stdin') === '1')
              for await (const chunk of socket.iterator({ destroyOnReturn: false })) input += String(chunk);
            if (query.get('stdout') === '1') socket.write(frame(1, input === '' ? 'out\n' : input));
            if (query.get('stderr') === '1') socket.write(frame(2, 'err\n'));
            socket.end();
            exit.resolve({ StatusCode: image === 'ends-with-3' ? 3 : 0 });
          },
        };
      case `POST /containers/${created}/wait`:
        return { later: exit.promise };
      case `POST /containers/${created}/start`:
        if (startFailures[image]) {
          exit.resolve({ StatusCode: 127 });
          return { status: image === 'port-taken' ? 500 : 400, json: { message: startFailures[image] } };
        }
        started.resolve();
        return { status: 204 };
      case 'GET /containers/d1/json':
        return { json: inspection };
      case 'GET /containers/d1/top':
        return {
          json: {
            Titles: ['UID', 'PID', 'PPID', 'C', 'STIME', 'TTY', 'TIME', 'CMD'],
            Processes: [
              [
                'root',
                '25114',
                '25090',
                '0',
                '20:56',
                '?',
                '00:00:00',
                'sh -c while :; do echo tick; sleep 1; done',
              ],
              ['root', '26145', '25114', '0', '20:57', '?', '00:00:00', 'sleep 1'],
            ],
          },
        };
      case `GET /containers/${d1}/logs`:
        return { bytes: Buffer.concat([frame(1, 'one\n'), frame(2, 'two\n'), frame(1, 'three\n')]) };
      case 'GET /containers/d1/stats':
      case `GET /containers/${d1.slice(0, 12)}/stats`:
      case `GET /containers/${d2.slice(0, 12)}/stats`:
        return {
          json: id.startsWith('0b') ? { ...sample, id: d2, name: '/d2', networks: undefined } : sample,
        };
      case 'POST /containers/d1/exec':
        return { status: 201, json: { Id: 'e1' } };
      case 'POST /exec/e1/start':
        if (seen.body.includes('"Detach":true')) return { status: 200 };
        return {
          talk(socket) {
            socket.write(Buffer.concat([frame(1, 'o\n'), frame(2, 'e\n')]));
            socket.end();
          },
        };
      case 'GET /exec/e1/json':
        return {
          json: { ID: 'e1', Running: false, ExitCode: 5, ProcessConfig: { entrypoint: 'sh', arguments: [] } },
        };
      case 'POST /containers/d1/wait':
      case 'POST /containers/d2/wait':
        return { later: Promise.resolve({ StatusCode: id === 'd1' ? 143 : 0 }) };
      case 'POST /containers/c1/kill':
        return {
          status: 409,
          json: { message: `cannot kill container: c1: container ${c1} is not running` },
        };
      case 'DELETE /containers/d1':
        if (query.get('force') === '1') return { status: 204 };
        return {
          status: 409,
          json: {
            message:
              'cannot remove container "/d1": container is running: stop the container before removing or force remove',
          },
        };
      case 'POST /networks/create':
        return { status: 201, json: { Id: networkList[3]!.Id, Warning: '' } };
      case 'GET /networks/n2':
        return { json: networkList[4] };
      case 'DELETE /networks/n2':
        return { status: 204 };
      case 'POST /networks/n2/connect':
      case 'POST /networks/n2/disconnect':
        return { status: 200 };
      case 'POST /volumes/create':
        return { status: 201, json: volumeList[2] };
      case 'GET /volumes/v2':
        return { json: volumeList[2] };
      case 'DELETE /volumes/v2':
        return { status: 204 };
      case 'POST /containers/prune':
        return { json: { ContainersDeleted: [c1], SpaceReclaimed: 1500 } };
      case 'POST /networks/prune':
        return { json: { NetworksDeleted: ['n10'] } };
      case 'POST /volumes/prune':
        return { json: { VolumesDeleted: ['zz'], SpaceReclaimed: 12_345_678 } };
      case 'POST /images/prune':
        return { json: { ImagesDeleted: [{ Untagged: 'a:1' }, { Deleted: dangling }], SpaceReclaimed: 0 } };
      case 'POST /build/prune':
        return { json: { CachesDeleted: null, SpaceReclaimed: 0 } };
    }
    if (/^POST \/containers\/(?:d1|d2)\/(?:start|stop|restart|pause|unpause|kill|rename)$/.test(path))
      return { status: 204 };
    if (id !== '') return missing(`No such container: ${id}`);
    const [, kind = '', name = ''] = /^\w+ \/(images|networks|volumes)\/([^/]+)/.exec(path) ?? [];
    if (kind === 'images') return missing(`No such image: ${name}:latest`);
    if (kind === 'networks') return missing(`network ${name} not found`);
    if (kind === 'volumes') return missing(`get ${name}: no such volume`);
    return undefined;
  };
}

function without(row: Record<string, unknown>): Record<string, unknown> {
  const { SizeRw: _rw, SizeRootFs: _root, ...rest } = row;
  return rest;
}

/** Containers whose root is somebody else outside, made by root: what Docker calls userns-remap. */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';

import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';

import { detectCgroups } from '../src/cgroups/layout.ts';
import { createNetworkNamespace, removeNetworkNamespace } from '../src/network-namespace.ts';
import type { Container, Mount } from '../src/runtime.ts';
import { createUserNamespace, removeUserNamespace } from '../src/user-namespace.ts';
import { defaultSeccompProfile } from '../src/seccomp.ts';
import { DEFAULT_CAPABILITIES } from '../src/spec/index.ts';
import type { Spec } from '../src/spec/index.ts';
import { collect, runToEnd, shellSpec } from '../src/testing/index.ts';
import type { RunResult } from '../src/testing/index.ts';
import { describeContainers, leftovers, makeLab } from './rootfs.ts';
import type { Lab } from './rootfs.ts';

const FIRST = 100_000;
const maps = [{ containerID: 0, hostID: FIRST, size: 65_536 }];

/** In a user namespace of its own. */
function remapped(spec: Spec): void {
  spec.linux!.namespaces!.push({ type: 'user' });
  spec.linux!.uidMappings = maps;
  spec.linux!.gidMappings = maps;
}

describeContainers('a container in a user namespace', () => {
  let lab: Lab;
  beforeAll(() => {
    lab = makeLab();
  });
  afterEach(() => expect(leftovers(lab)).toEqual([]));
  afterAll(() => lab.dispose());

  const spec = (script: string, change: (spec: Spec) => void = () => {}): Spec =>
    shellSpec(lab.rootfs, script, (made) => {
      remapped(made);
      change(made);
    });

  async function sh(script: string, change?: (spec: Spec) => void, rootfs?: Mount[]): Promise<RunResult> {
    return runToEnd(lab.runtime, 'c', { spec: spec(script, change), ...(rootfs ? { rootfs } : {}) });
  }

  async function out(script: string, change?: (spec: Spec) => void, rootfs?: Mount[]): Promise<string> {
    const { stdout, stderr } = await sh(script, change, rootfs);
    expect(stderr).toBe('');
    return stdout.trim();
  }

  async function started(script: string, change?: (spec: Spec) => void, id = 'c'): Promise<Container> {
    const container = await lab.runtime.create(id, { spec: spec(script, change) });
    await container.start();
    return container;
  }

  const overlay = (...more: string[]): Mount[] => {
    for (const name of ['upper', 'work']) mkdirSync(join(lab.directory, name), { recursive: true });
    const options = [`upperdir=${join(lab.directory, 'upper')}`, `workdir=${join(lab.directory, 'work')}`];
    return [{ type: 'overlay', source: 'overlay', options: [`lowerdir=${lab.rootfs}`, ...options, ...more] }];
  };

  it('is root inside and nobody special outside', async () => {
    await using container = await started('sleep 1000');
    const status = readFileSync(`/proc/${container.pid}/status`, 'utf8');
    expect(/^Uid:\t(.*)$/m.exec(status)?.[1]).toBe(Array(4).fill(FIRST).join('\t'));
    expect(/^Gid:\t(.*)$/m.exec(status)?.[1]).toBe(Array(4).fill(FIRST).join('\t'));
    // not even the groups of the one who made it
    expect(/^Groups:\t(.*)$/m.exec(status)?.[1]?.trim()).toBe('');
    for (const kind of ['user', 'pid', 'net', 'mnt', 'ipc', 'uts', 'cgroup']) {
      expect(readlinkSync(`/proc/${container.pid}/ns/${kind}`)).not.toBe(
        readlinkSync(`/proc/self/ns/${kind}`),
      );
    }
    await container.delete({ force: true });
  });

  it('has ids as mapped, also for another user and its groups', async () => {
    const change = (made: Spec): void => {
      made.process!.user = { uid: 1000, gid: 1001, additionalGids: [5, 7] };
    };
    expect(await out('id -u; id -g; grep Groups /proc/self/status; cat /proc/self/uid_map', change)).toMatch(
      /^1000\n1001\nGroups:\t5 7 \n\s+0\s+100000\s+65536$/,
    );
  });

  it('may use the default devices and those of the spec, with their owners, and can make none', async () => {
    const script = `
      head -c 3 /dev/zero | wc -c; echo x > /dev/null; stat -c "%a %u %g %t %T" /dev/mine; cat /dev/mine | wc -c
      mknod /dev/more c 1 3 2>&1; mknod /tmp/more c 1 3 2>&1`;
    const change = (made: Spec): void => {
      made.linux!.devices = [
        { type: 'c', path: '/dev/mine', major: 1, minor: 3, fileMode: 0o640, uid: 1, gid: 2 },
        { type: 'p', path: '/dev/fifo', uid: 3 },
      ];
      made.mounts!.push({ destination: '/tmp', type: 'tmpfs', source: 'tmpfs', options: ['mode=1777'] });
    };
    expect(await out(`${script}; stat -c "%F %u" /dev/fifo`, change)).toBe(
      [
        '3',
        '640 1 2 1 3',
        '0',
        'mknod: /dev/more: Operation not permitted',
        'mknod: /tmp/more: Operation not permitted',
        'fifo 3',
      ].join('\n'),
    );
  });

  it('opens its stdio again, whoever it runs as', async () => {
    const script = 'echo a > /dev/stdout; echo b >> /dev/stderr';
    for (const uid of [0, 1000]) {
      const result = await sh(script, (made) => (made.process!.user = { uid, gid: uid }));
      expect({ uid, ...result }).toMatchObject({ uid, stdout: 'a\n', stderr: 'b\n', exitCode: 0 });
    }
  });

  it('is entered by exec, as root of it or as another user', async () => {
    await using container = await started('sleep 1000');
    for (const uid of [0, 1000]) {
      const args = [
        'sh',
        '-c',
        'id -u; cat /proc/self/uid_map; echo again > /dev/stdout; ls /proc/1/ns >/dev/null',
      ];
      await using process = await container.exec({ args, env: ['PATH=/bin'], user: { uid, gid: uid } });
      const { stdout } = await collect(await process.attach());
      expect(stdout).toMatch(new RegExp(String.raw`^${uid}\n\s+0\s+100000\s+65536\nagain\n`));
      expect(await process.wait()).toMatchObject({ exitCode: uid === 0 ? 0 : 1 });
    }
    await container.delete({ force: true });
  });

  it('has a terminal of the size in the spec', async () => {
    const container = await lab.runtime.create('c', {
      spec: spec('tty; stty size; echo $$', ({ process }) => {
        process!.terminal = true;
        process!.consoleSize = { height: 20, width: 90 };
      }),
    });
    const attachment = await container.attach();
    await container.start();
    expect((await collect(attachment)).stdout).toBe('/dev/pts/0\r\n20 90\r\n1\r\n');
    await container.delete({ force: true });
  });

  it('writes to layers that know nothing of its ids, and these stay as they were', async () => {
    writeFileSync(join(lab.rootfs, 'etc/secret'), 'x', { mode: 0o600 });
    const script =
      'stat -c %u /etc/secret; echo y >> /etc/secret; touch /new; mkdir /tmp/d; stat -c %u /new; id -u';
    expect(await out(script, undefined, overlay('idmap'))).toBe('0\n0\n0');
    expect(readFileSync(join(lab.rootfs, 'etc/secret'), 'utf8')).toBe('x');
    // what was changed is root's on the disk too: another container, with other ids, can use it
    for (const name of ['new', 'tmp/d', 'etc/secret']) {
      expect(statSync(join(lab.directory, 'upper', name)), name).toMatchObject({ uid: 0, gid: 0 });
    }
    expect(readFileSync(join(lab.directory, 'upper/etc/secret'), 'utf8')).toBe('xy\n');
  });

  it('uses layers as they are without idmap, and a directory with it', async () => {
    expect(await out('stat -c %u /bin/busybox', undefined, overlay())).toBe('65534');
    const bind = { type: 'bind', source: lab.rootfs, options: ['idmap'] };
    expect(await out('stat -c %u /bin/busybox; touch /by-root', undefined, [bind])).toBe('0');
    expect(statSync(join(lab.rootfs, 'by-root')).uid).toBe(0);
  });

  it('mounts what is bound with its own ids when asked', async () => {
    const source = join(lab.directory, 'data');
    mkdirSync(source, { recursive: true });
    const bind = (options: string[]) => (made: Spec) =>
      made.mounts!.push({ destination: '/tmp', type: 'bind', source, options: ['rbind', ...options] });
    expect(await out('stat -c %u /tmp; touch /tmp/f; stat -c %u /tmp/f', bind(['idmap']))).toBe('0\n0');
    expect(statSync(join(source, 'f')).uid).toBe(0);
    expect(await out('stat -c %u /tmp', bind([]))).toBe('65534');
  });

  it('lives in a network namespace that somebody else has made', async () => {
    const path = join(lab.directory, 'netns');
    await createNetworkNamespace(path);
    try {
      const change = (made: Spec): void => {
        made.linux!.namespaces!.find(({ type }) => type === 'network')!.path = path;
      };
      // its own sysfs: not one that shows the interfaces of the host
      expect(await out('readlink /proc/self/ns/net; ls /sys/class/net; echo', change)).toMatch(
        new RegExp(String.raw`^net:\[${statSync(path).ino}\]\nlo$`),
      );
    } finally {
      await removeNetworkNamespace(path);
    }
  });

  it('shares a user namespace with a name, and has power over a network namespace that belongs to it', async () => {
    const [user, net] = ['user', 'net'].map((name) => join(lab.directory, `ns-${name}`)) as [string, string];
    await createUserNamespace(user, { uidMappings: maps, gidMappings: maps });
    await createNetworkNamespace(net, { userNamespace: user });
    try {
      const change = (made: Spec): void => {
        const { namespaces } = made.linux!;
        namespaces!.find(({ type }) => type === 'user')!.path = user;
        namespaces!.find(({ type }) => type === 'network')!.path = net;
        for (const set of Object.values(made.process!.capabilities!)) set.push('CAP_NET_ADMIN');
      };
      const script =
        'readlink /proc/self/ns/user; readlink /proc/self/ns/net; ip link set lo mtu 1234; cat /sys/class/net/lo/mtu';
      for (let round = 0; round < 2; round++) {
        expect(await out(script, change)).toBe(
          `user:[${statSync(user).ino}]\nnet:[${statSync(net).ino}]\n1234`,
        );
      }
      // of one that belongs to the host it has none
      const { stderr } = await sh(script, (made) => {
        change(made);
        made.linux!.namespaces!.find(({ type }) => type === 'network')!.path = '/proc/self/ns/net';
      });
      expect(stderr).toContain('Operation not permitted');
      await expect(createUserNamespace(user, { uidMappings: maps, gidMappings: maps })).rejects.toMatchObject(
        {
          code: 'EEXIST',
        },
      );
      await expect(createNetworkNamespace(`${net}2`, { userNamespace: '/dev/null' })).rejects.toMatchObject({
        code: 'EINVAL',
      });
      expect(existsSync(`${net}2`)).toBe(false);
      const overlap = [...maps, ...maps];
      const wrong = createUserNamespace(`${user}2`, { uidMappings: overlap, gidMappings: maps });
      await expect(wrong).rejects.toMatchObject({ code: 'EINVAL' });
      expect(existsSync(`${user}2`)).toBe(false);
    } finally {
      await removeNetworkNamespace(net);
      await removeUserNamespace(user);
    }
  });

  it('shares namespaces of the host, and sees them', async () => {
    const change = (made: Spec): void => {
      made.linux!.namespaces = [{ type: 'mount' }, { type: 'user' }];
      made.linux!.maskedPaths = [];
    };
    const inside = await out(
      'readlink /proc/self/ns/net; readlink /proc/self/ns/pid; [ -d /proc/2 ] || [ -d /proc/1/ns ]; ls /sys/class/net | grep -c lo',
      change,
    );
    expect(inside.split('\n')).toEqual([
      readlinkSync('/proc/self/ns/net'),
      readlinkSync('/proc/self/ns/pid'),
      '1',
    ]);
  });

  it('joins the namespaces of another one, whose processes it then sees', async () => {
    await using other = await started('sleep 1000', undefined, 'other');
    const at = (kind: string): string => `/proc/${other.pid}/ns/${kind}`;
    const change = (made: Spec): void => {
      made.linux!.namespaces = [
        { type: 'user', path: at('user') },
        { type: 'pid', path: at('pid') },
        { type: 'network', path: at('net') },
        { type: 'ipc', path: at('ipc') },
        { type: 'uts', path: at('uts') },
        { type: 'mount' },
        { type: 'cgroup' },
      ];
      delete made.linux!.uidMappings;
      delete made.linux!.gidMappings;
    };
    const script =
      'ps | grep -c "[s]leep 1000"; id -u; readlink /proc/self/ns/user; head -c 1 /dev/zero | wc -c';
    expect(await out(script, change)).toBe(`1\n0\n${readlinkSync(at('user'))}\n1`);
    await other.delete({ force: true });
  });

  it('has its clocks, host name, sysctls and OOM score', async () => {
    const change = (made: Spec): void => {
      made.hostname = 'inside';
      made.linux!.namespaces!.push({ type: 'time' });
      made.linux!.timeOffsets = { boottime: { secs: 100_000_000, nanosecs: 0 } };
      made.linux!.sysctl = { 'net.ipv4.ip_forward': '1', 'kernel.domainname': 'example.com' };
      made.process!.oomScoreAdj = 500;
      made.process!.rlimits = [{ type: 'RLIMIT_NOFILE', soft: 100, hard: 200 }];
      made.process!.ioPriority = { class: 'IOPRIO_CLASS_BE', priority: 7 };
      made.process!.scheduler = { policy: 'SCHED_BATCH', nice: 5 };
    };
    const script = `hostname; cut -d. -f1 /proc/uptime; cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/domainname /proc/self/oom_score_adj
      ulimit -n; ulimit -Hn; cut -d" " -f19,41 /proc/self/stat`;
    const [hostname, uptime, ...rest] = (await out(script, change)).split('\n');
    expect(hostname).toBe('inside');
    expect(Number(uptime)).toBeGreaterThan(100_000_000);
    expect(rest).toEqual(['1', 'example.com', '500', '100', '200', '5 3']);
  });

  it('runs under a filter, with and without no_new_privs', async () => {
    for (const noNewPrivileges of [true, false]) {
      const change = ({ linux, process }: Spec): void => {
        linux!.seccomp = defaultSeccompProfile({ capabilities: DEFAULT_CAPABILITIES });
        process!.noNewPrivileges = noNewPrivileges;
      };
      const script = 'grep -E "^(NoNewPrivs|Seccomp|CapEff):" /proc/self/status';
      expect(await out(script, change)).toBe(
        `CapEff:\t00000000a80425fb\nNoNewPrivs:\t${noNewPrivileges ? 1 : 0}\nSeccomp:\t2`,
      );
    }
  });

  it('has hooks, those of its namespaces as root of it', async () => {
    const directory = join(lab.directory, 'hooks');
    mkdirSync(directory);
    chmodSync(directory, 0o777);
    // hooks of the container's namespaces go there as its root
    chmodSync(lab.directory, 0o711);
    const hook = (name: string, path: string): { path: string; args: string[] } => ({
      path: '/bin/sh',
      args: ['sh', '-c', `cat > ${path}/${name}; id -u >> ${path}/${name}`],
    });
    await using container = await started('cat /tmp/started; sleep 1000', (made) => {
      made.mounts!.push({ destination: '/tmp', type: 'bind', source: directory, options: ['rbind'] });
      made.hooks = {
        createRuntime: [hook('runtime', directory)],
        createContainer: [hook('created', directory)],
        startContainer: [hook('started', '/tmp')],
      };
    });
    const read = (name: string): [pid: number, uid: string] => {
      const [state = '', uid = ''] = readFileSync(join(directory, name), 'utf8').trim().split('\n');
      return [(JSON.parse(state) as { pid: number }).pid, uid];
    };
    expect(read('runtime')).toEqual([container.pid, '0']);
    expect(read('created')).toEqual([1, '0']);
    expect(read('started')).toEqual([1, '0']);
    expect(statSync(join(directory, 'runtime')).uid).toBe(0);
    expect(statSync(join(directory, 'created')).uid).toBe(FIRST);
    await container.delete({ force: true });
  });

  it('is in its cgroups with its limits, paused and resumed', async () => {
    await using container = await started('sleep 1000', (made) => {
      made.linux!.resources = { ...made.linux!.resources, pids: { limit: 50 }, memory: { limit: 64 << 20 } };
    });
    const lines = readFileSync(`/proc/${container.pid}/cgroup`, 'utf8').trim().split('\n');
    for (const line of lines) expect(line.endsWith(`${lab.cgroupRoot}/c`), line).toBe(true);
    expect((await container.stats()).pids).toEqual({ current: 1, limit: 50 });
    await container.pause();
    await container.resume();
    await container.delete({ force: true });
  });

  it.skipIf(detectCgroups().kind !== 'v2')(
    'divides its cgroup when it may write there (needs version 2 alone)',
    async () => {
      const writable = (made: Spec): void => {
        made.mounts!.find(({ type }) => type === 'cgroup')!.options = ['rw', 'nosuid', 'noexec', 'nodev'];
      };
      const script = `mkdir /sys/fs/cgroup/part && echo $$ > /sys/fs/cgroup/part/cgroup.procs && cat /proc/self/cgroup
      echo 5 2>/dev/null > /sys/fs/cgroup/pids.max || echo limited`;
      expect(await out(script, writable)).toBe('0::/part\nlimited');
      // as it is mounted by default, it is nobody's
      expect((await sh('mkdir /sys/fs/cgroup/part')).exitCode).toBe(1);
    },
  );

  it('cannot read or change what is root’s on the host, though it is root', async () => {
    const source = join(lab.directory, 'private');
    mkdirSync(source, { recursive: true });
    writeFileSync(join(source, 'file'), 'secret', { mode: 0o600 });
    chmodSync(source, 0o755);
    const change = (made: Spec): void => {
      made.mounts!.push({ destination: '/tmp', type: 'bind', source, options: ['rbind'] });
    };
    const { stdout } = await sh(
      'cat /tmp/file 2>&1; echo x 2>&1 >/tmp/file; chmod 777 /tmp/file 2>&1; kill -0 1',
      change,
    );
    expect(stdout).not.toContain('secret');
    expect(stdout).toContain('chmod: /tmp/file: Operation not permitted');
    expect(readFileSync(join(source, 'file'), 'utf8')).toBe('secret');
  });

  it('cannot set the release agent of the host’s cgroups, even with CAP_SYS_ADMIN and a mount of them', async () => {
    const change = (made: Spec): void => {
      for (const set of Object.values(made.process!.capabilities!)) set.push('CAP_SYS_ADMIN');
      made.process!.noNewPrivileges = false;
    };
    const { stdout } = await sh(
      `for c in memory freezer rdma; do
         mount -t cgroup -o $c x /tmp 2>/dev/null && echo mounted
         mkdir /tmp/x 2>/dev/null && echo made
         for f in release_agent notify_on_release cgroup.procs; do
           echo x 2>/dev/null > /tmp/$f && echo $f
         done
       done
       mount -t tmpfs x /tmp && echo mounted
       mount -o remount,rw,bind /sys/fs/cgroup/memory 2>/dev/null
       for f in /sys/fs/cgroup/*/release_agent /sys/fs/cgroup/*/cgroup.procs; do echo x 2>/dev/null > $f && echo $f; done`,
      change,
    );
    // it has the power to mount, in its own namespace; what is mounted is not its own
    expect(stdout).toMatch(/^(mounted\n)+$/);
  });
});

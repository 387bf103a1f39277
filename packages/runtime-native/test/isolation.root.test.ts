/** What a container cannot see, do or use. */
import { mkdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';

import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';

import { capabilitySets } from '../src/spec/index.ts';
import type { NamespaceSpec, Spec } from '../src/spec/index.ts';
import { runToEnd, shellSpec } from '../src/testing/index.ts';
import type { RunResult } from '../src/testing/index.ts';
import type { Mount } from '../src/runtime.ts';
import { describeContainers, leftovers, machineMounts, makeLab } from './rootfs.ts';
import type { Lab } from './rootfs.ts';

describeContainers('a container', () => {
  let lab: Lab;
  beforeAll(() => {
    lab = makeLab();
  });
  afterEach(() => expect(leftovers(lab)).toEqual([]));
  afterAll(() => lab.dispose());

  async function sh(script: string, change?: (spec: Spec) => void, rootfs?: Mount[]): Promise<RunResult> {
    const spec = shellSpec(lab.rootfs, script, change);
    return runToEnd(lab.runtime, 'c', { spec, ...(rootfs ? { rootfs } : {}) });
  }

  async function out(script: string, change?: (spec: Spec) => void): Promise<string> {
    const { stdout, stderr } = await sh(script, change);
    expect(stderr).toBe('');
    return stdout.trim();
  }

  it('is process 1 and sees no process of the host', async () => {
    expect(await out('echo $$; ls -d /proc/[0-9]* | sort')).toMatch(
      /^1\n\/proc\/1\n\/proc\/\d+(\n\/proc\/\d+)?$/,
    );
  });

  it('has namespaces of its own', async () => {
    const kinds = ['pid', 'mnt', 'net', 'ipc', 'uts', 'cgroup'];
    const inside = await out(`for k in ${kinds.join(' ')}; do readlink /proc/self/ns/$k; done`);
    const outside = kinds.map((kind) => readlinkSync(`/proc/self/ns/${kind}`));
    inside.split('\n').forEach((link, i) => expect(link, kinds[i]).not.toBe(outside[i]));
    // the time and user namespaces are the host's unless asked for
    expect(await out('readlink /proc/self/ns/user')).toBe(readlinkSync('/proc/self/ns/user'));
  });

  it('has its root also where it cannot be pivoted to', async () => {
    const spec = shellSpec(lab.rootfs, 'ls -d /bin/busybox; ls -d /proc/self; pwd; wc -l < /proc/mounts');
    const { stdout, stderr } = await runToEnd(lab.runtime, 'c', { spec, pivot: false });
    expect({ stdout, stderr }).toEqual({
      stdout: expect.stringMatching(/^\/bin\/busybox\n\/proc\/self\n\/\n\d+\n$/) as string,
      stderr: '',
    });
  });

  it('may use devices that every container has, whatever its rules say', async () => {
    const script = 'cat /dev/zero | head -c 3 | wc -c; test -c /dev/tty && echo tty; cat /dev/console 2>&1';
    const { stdout } = await sh(script, (spec) => {
      spec.linux!.resources = { devices: [{ allow: false, access: 'rwm' }] };
    });
    expect(stdout).toMatch(/^3\ntty\n/);
  });

  it('has its own host name, and leaves the one of the host', async () => {
    const before = readFileSync('/proc/sys/kernel/hostname', 'utf8');
    expect(await out('hostname', (spec) => (spec.hostname = 'inside'))).toBe('inside');
    expect(readFileSync('/proc/sys/kernel/hostname', 'utf8')).toBe(before);
  });

  it('has a loopback interface that is up, and no other', async () => {
    expect(await out('ls /sys/class/net; ip addr show lo | grep -c "inet 127.0.0.1"')).toBe('lo\n1');
  });

  it('sees no mount and no file of the host', async () => {
    writeFileSync(join(lab.directory, 'secret'), 'x');
    const { stdout } = await sh(`cat /proc/self/mountinfo; ls ${lab.directory} /.. 2>&1`);
    expect(stdout).toContain('No such file or directory');
    const roots = stdout.split('\n').filter((line) => line.includes(' - ext4 '));
    // of the host's file system only what is the container's root
    const root = `${basename(lab.directory)}/rootfs`;
    for (const line of roots) expect(line.split(' ')[3]!.endsWith(root)).toBe(true);
    expect(stdout).toContain('bin');
  });

  it('sees of the cgroups only its own, read-only', async () => {
    const own = await out('cat /proc/self/cgroup');
    for (const line of own.split('\n')) expect(line).toMatch(/:\/$/);
    const { exitCode } = await sh(
      'for f in /sys/fs/cgroup/*/cgroup.procs; do echo 1 > $f && exit 1; done; exit 0',
    );
    expect(exitCode).toBe(0);
  });

  it('shows nothing of itself on the host while it runs', async () => {
    const mounts = machineMounts();
    const container = await lab.runtime.create('c', { spec: shellSpec(lab.rootfs, 'sleep 1000') });
    await container.start();
    expect(machineMounts()).toEqual(mounts);
    // nor in the lab's own directory
    expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(lab.directory);
    await container.delete({ force: true });
  });

  it('has no file open but its stdio', async () => {
    const script =
      'ls /proc/self/fd | sort -n | tr "\\n" " "; ls -l /proc/1/fd | grep -v -e pipe -e null -e /proc -e total';
    const { stdout } = await sh(script);
    // 3 is the directory that ls reads
    expect(stdout).toBe('0 1 2 3 ');
  });

  it('finds masked paths empty and read-only, and read-only paths read-only', async () => {
    const script = `
      cat /proc/keys /proc/timer_list; ls /sys/firmware /proc/acpi
      for f in /proc/sysrq-trigger /proc/sys/kernel/core_pattern /sys/firmware/x /proc/keys /proc/irq/x; do
        (echo h > $f) 2>/dev/null && echo wrote $f
      done
      exit 0`;
    expect((await sh(script)).stdout).not.toContain('wrote');
    expect((await sh('cat /proc/keys /proc/timer_list; ls /sys/firmware')).stdout).toBe('');
  });

  it('cannot write to a read-only root, and can to what is mounted in it', async () => {
    const change = (spec: Spec): void => {
      spec.root!.readonly = true;
      spec.mounts!.push({ destination: '/scratch', type: 'tmpfs', source: 'tmpfs', options: ['size=1m'] });
    };
    const { stdout, exitCode } = await sh(
      'touch /x 2>/dev/null || echo refused; touch /scratch/x && touch /dev/shm/x',
      change,
    );
    expect({ stdout, exitCode }).toEqual({ stdout: 'refused\n', exitCode: 0 });
  });

  it('has the default devices, and no other device works', async () => {
    expect(await out('echo x > /dev/null; head -c 3 /dev/zero | wc -c; head -c 5 /dev/urandom | wc -c')).toBe(
      '3\n5',
    );
    expect(await out('stat -c "%F %a %t %T" /dev/null')).toBe('character special file 666 1 3');
    // the memory of the machine, made by the container itself
    const { stdout } = await sh(
      'mknod /tmp/mem c 1 1 && (head -c 1 /tmp/mem 2>&1 || echo refused); rm -f /tmp/mem',
    );
    expect(stdout).toContain('refused');
  });

  it('gets the devices that the spec names', async () => {
    const change = (spec: Spec): void => {
      spec.linux!.devices = [
        { type: 'c', path: '/dev/net/thing', major: 1, minor: 3, fileMode: 0o640, uid: 5, gid: 6 },
        { type: 'p', path: '/dev/fifo' },
      ];
    };
    const script = 'stat -c "%F %a %u %g" /dev/net/thing; stat -c %F /dev/fifo';
    expect(await out(script, change)).toBe('character special file 640 5 6\nfifo');
  });

  it('has exactly the capabilities of the spec', async () => {
    const sets = 'grep Cap /proc/self/status | tr -d "\\n\\t"';
    expect(await out(sets)).toBe(
      'CapInh:0000000000000000CapPrm:00000000a80425fbCapEff:00000000a80425fbCapBnd:00000000a80425fbCapAmb:0000000000000000',
    );
    const none = await out(sets, (spec) => (spec.process!.capabilities = {}));
    expect(none.replaceAll(/Cap(?:Inh|Prm|Eff|Bnd|Amb):/g, '')).toMatch(/^0+$/);
    const ambient = await out(sets, (spec) => {
      spec.process!.user.uid = 1000;
      const one = ['CAP_NET_BIND_SERVICE'];
      spec.process!.capabilities = {
        bounding: one,
        permitted: one,
        effective: one,
        inheritable: one,
        ambient: one,
      };
    });
    expect(ambient).toContain('CapEff:0000000000000400');
    expect(ambient).toContain('CapAmb:0000000000000400');
  });

  it('has no effective capability as another user than root', async () => {
    const status = await out('grep -e CapEff -e Uid -e Gid -e Groups /proc/self/status', (spec) => {
      spec.process!.user = { uid: 1000, gid: 100, additionalGids: [7, 70_000] };
      spec.process!.capabilities = capabilitySets();
    });
    expect(status).toContain('CapEff:\t0000000000000000');
    expect(status).toContain('Uid:\t1000\t1000\t1000\t1000');
    expect(status).toContain('Gid:\t100\t100\t100\t100');
    expect(status).toMatch(/Groups:\t7 70000/);
  });

  it('sets no_new_privs when asked', async () => {
    for (const [asked, seen] of [
      [true, '1'],
      [false, '0'],
    ] as const) {
      const change = (spec: Spec): void => void (spec.process!.noNewPrivileges = asked);
      expect(await out('grep NoNewPrivs /proc/self/status', change)).toBe(`NoNewPrivs:\t${seen}`);
    }
  });

  it('starts with the working directory, environment, umask and limits of the spec', async () => {
    const stdout = await out('pwd; env | grep -v -e SHLVL -e PWD; umask; ulimit -n; ulimit -c', (spec) => {
      spec.process!.cwd = '/made/when/missing';
      spec.process!.env = ['PATH=/bin', 'A=1', 'EMPTY=', 'SPACES=a b'];
      spec.process!.user.umask = 0o027;
      spec.process!.rlimits = [
        { type: 'RLIMIT_NOFILE', soft: 100, hard: 200 },
        { type: 'RLIMIT_CORE', soft: 0, hard: 0 },
      ];
    });
    expect(stdout.split('\n').toSorted()).toEqual(
      ['/made/when/missing', 'PATH=/bin', 'A=1', 'EMPTY=', 'SPACES=a b', '0027', '100', '0'].toSorted(),
    );
  });

  it('lets another user than root open its stdio again', async () => {
    const { stdout, stderr } = await sh('echo one > /dev/stdout; echo two > /dev/stderr', (spec) => {
      spec.process!.user = { uid: 1000, gid: 1000 };
    });
    expect({ stdout, stderr }).toEqual({ stdout: 'one\n', stderr: 'two\n' });
  });

  it('takes sysctls of its namespaces and refuses those of the host', async () => {
    const value = await out(
      'cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/msgmax',
      (spec) => {
        spec.linux!.sysctl = { 'net.ipv4.ip_unprivileged_port_start': '0', 'kernel.msgmax': '9000' };
      },
    );
    expect(value).toBe('0\n9000');
    const domain = (spec: Spec): void =>
      void (spec.linux!.sysctl = { 'kernel.domainname': 'inside.example' });
    expect(await out('cat /proc/sys/kernel/domainname', domain)).toBe('inside.example');
    const before = readFileSync('/proc/sys/kernel/core_pattern', 'utf8');
    await expect(
      sh('true', (spec) => (spec.linux!.sysctl = { 'kernel.core_pattern': 'x' })),
    ).rejects.toMatchObject({
      code: 'INVALID_SPEC',
    });
    expect(readFileSync('/proc/sys/kernel/core_pattern', 'utf8')).toBe(before);
  });

  it('binds directories and files of the host, read-only when asked, with what is below them', async () => {
    const source = join(lab.directory, 'source');
    mkdirSync(join(source, 'deep'), { recursive: true });
    writeFileSync(join(source, 'file'), 'content\n');
    const change = (spec: Spec): void => {
      spec.mounts!.push(
        { destination: '/rw', type: 'bind', source, options: ['rbind', 'rprivate'] },
        { destination: '/new/ro', type: 'bind', source, options: ['rbind', 'rro'] },
        { destination: '/etc/one', type: 'bind', source: join(source, 'file'), options: ['bind', 'ro'] },
      );
    };
    const script =
      'cat /rw/file /new/ro/file /etc/one; echo x > /rw/deep/written; ' +
      '(echo x > /new/ro/deep/x) 2>/dev/null || echo refused; (echo x > /etc/one) 2>/dev/null || echo refused';
    expect((await sh(script, change)).stdout).toBe('content\ncontent\ncontent\nrefused\nrefused\n');
    expect(readFileSync(join(source, 'deep/written'), 'utf8')).toBe('x\n');
  });

  it('runs on an overlay that is mounted nowhere but inside', async () => {
    const [upper, work, empty] = ['upper', 'work', 'empty'].map((name) => join(lab.directory, name));
    for (const directory of [upper, work, empty]) mkdirSync(directory!, { recursive: true });
    const rootfs = [
      {
        type: 'overlay',
        source: 'overlay',
        options: [`lowerdir=${empty}:${lab.rootfs}`, `upperdir=${upper}`, `workdir=${work}`],
      },
    ];
    const { stdout } = await sh('echo new > /written; rm /bin/yes; mount | grep "on / "', undefined, rootfs);
    expect(stdout).toMatch(/^overlay on \/ type overlay /);
    expect(readFileSync(join(upper!, 'written'), 'utf8')).toBe('new\n');
    expect(() => readFileSync(join(lab.rootfs, 'written'))).toThrow('ENOENT');
  });

  it('joins a network namespace by its path', async () => {
    const other = await lab.runtime.create('other', { spec: shellSpec(lab.rootfs, 'sleep 1000') });
    const path = `/proc/${other.pid}/ns/net`;
    const link = readlinkSync(path);
    const change = (spec: Spec): void => {
      spec.linux!.namespaces = spec.linux!.namespaces!.map(({ type }) =>
        type === 'network' ? { type, path } : { type },
      );
    };
    expect(await out('readlink /proc/self/ns/net', change)).toBe(link);
    await other.delete({ force: true });
  });

  it('joins the pid namespace of another container', async () => {
    const other = await lab.runtime.create('other', { spec: shellSpec(lab.rootfs, 'sleep 1000') });
    await other.start();
    const path = `/proc/${other.pid}/ns/pid`;
    const change = (spec: Spec): void => {
      spec.linux!.namespaces = spec.linux!.namespaces!.map(({ type }) =>
        type === 'pid' ? { type, path } : { type },
      );
    };
    expect(await out('ps | grep -c "[s]leep 1000"', change)).toBe('1');
    await other.delete({ force: true });
  });

  it.each(['of the host’s root', 'of another user'] as const)(
    'joins a container in every one of its namespaces, file systems too, %s',
    async (owner) => {
      const kinds = ['pid', 'net', 'mnt', 'ipc', 'uts', 'cgroup', 'time'];
      const types: Record<string, NamespaceSpec['type']> = { net: 'network', mnt: 'mount' };
      if (owner === 'of another user') kinds.push('user');
      const maps = [{ containerID: 0, hostID: 100_000, size: 65_536 }];
      const hostSpec = shellSpec(lab.rootfs, 'echo mine > /dev/shm/file; exec sleep 1000', ({ linux }) => {
        linux!.namespaces!.push({ type: 'time' });
        if (!kinds.includes('user')) return;
        linux!.namespaces!.push({ type: 'user' });
        Object.assign(linux!, { uidMappings: maps, gidMappings: maps });
      });
      const host = await lab.runtime.create('host', { spec: hostSpec });
      await host.start();
      const at = (kind: string): string => `/proc/${host.pid}/ns/${kind}`;
      const script = `until [ -s /dev/shm/file ]; do :; done; cat /dev/shm/file; id -u
        for k in ${kinds.join(' ')}; do readlink /proc/self/ns/$k; done; echo x > /dev/null`;
      const spec = shellSpec(lab.rootfs, script, (made) => {
        delete made.root;
        delete made.mounts;
        made.linux = {
          namespaces: kinds.map((kind) => ({
            type: types[kind] ?? (kind as NamespaceSpec['type']),
            path: at(kind),
          })),
        };
      });
      const { stdout, stderr } = await runToEnd(lab.runtime, 'c', { spec });
      expect(stderr).toBe('');
      expect(stdout.trim().split('\n')).toEqual([
        'mine',
        '0',
        ...kinds.map((kind) => readlinkSync(at(kind))),
      ]);
      await host.delete({ force: true });
    },
  );

  it('may share the namespaces of the host', async () => {
    const change = (spec: Spec): void => {
      spec.linux!.namespaces = [{ type: 'mount' }];
      spec.linux!.maskedPaths = [];
    };
    const kinds = ['pid', 'net', 'ipc', 'uts', 'cgroup'];
    const inside = await out(`for k in ${kinds.join(' ')}; do readlink /proc/self/ns/$k; done`, change);
    expect(inside.split('\n')).toEqual(kinds.map((kind) => readlinkSync(`/proc/self/ns/${kind}`)));
  });
});

/**
 * Attacks by the image, by a shared volume and by a neighbour: whoever made these can put a link, a device or a process
 * wherever the runtime is going to look.
 */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { existsSync, mkdirSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';

import { readSysctl } from '../src/network-namespace.ts';
import { CAPABILITIES, capabilitySets } from '../src/spec/index.ts';
import type { Spec } from '../src/spec/index.ts';
import { collect, runToEnd, shellSpec } from '../src/testing/index.ts';
import { describeContainers, leftovers, makeLab } from './rootfs.ts';
import type { Lab } from './rootfs.ts';
import type { Swap } from './lab/swap.ts';

/** A race is run this often; once is enough to see that it is one. */
const ROUNDS = process.env.TARE_TEST_FULL === '1' ? 2000 : 60;

describeContainers('an attacker', () => {
  let lab: Lab;
  beforeAll(() => {
    lab = makeLab();
  });
  afterEach(async () => {
    for (const { id } of await lab.runtime.list()) await (await lab.runtime.load(id)).delete({ force: true });
    expect(leftovers(lab)).toEqual([]);
  });
  afterAll(() => lab.dispose());

  /** An empty directory of the lab. */
  function directory(name: string): string {
    const path = join(lab.directory, name);
    mkdirSync(path, { recursive: true });
    return path;
  }

  const volume = (source: string, destination: string): NonNullable<Spec['mounts']>[number] => ({
    destination,
    type: 'bind',
    source,
    options: ['rbind', 'rw'],
  });

  /** In a user namespace. */
  function remap({ linux }: Spec): void {
    const maps = [{ containerID: 0, hostID: 100_000, size: 65_536 }];
    linux!.namespaces!.push({ type: 'user' });
    linux!.uidMappings = maps;
    linux!.gidMappings = maps;
  }

  const outcome = (spec: Spec): Promise<{ stdout: string } | { code: string; errnoCode?: string }> =>
    runToEnd(lab.runtime, 'c', { spec });

  // CVE-2016-9962, CVE-2019-5736
  it.each(['as root', 'as root of the same user namespace'] as const)(
    'in the same pid namespace sees and gets nothing of a process that is being set up, %s',
    async (who) => {
      const mapped = who !== 'as root';
      const victimSpec = shellSpec(lab.rootfs, 'sleep 1000', (made) => mapped && remap(made));
      const victim = await lab.runtime.create('victim', { spec: victimSpec });
      await victim.start();
      // a second container that has got as far as its gate, with the same user and the same capabilities
      const spec = shellSpec(lab.rootfs, 'true', (made) => {
        if (mapped) remap(made);
        for (const kind of ['pid', 'user'] as const) {
          const namespace = made.linux!.namespaces!.find(({ type }) => type === kind);
          if (namespace) namespace.path = `/proc/${victim.pid}/ns/${kind}`;
        }
      });
      const waiting = await lab.runtime.create('c', { spec });
      const script = `
        for p in /proc/[0-9]*; do
          case $(cat $p/comm) in tare-monitor) ;; *) continue;; esac
          echo found
          ls $p/cwd/ $p/root/ $p/fd/3/ && echo listed
          for l in $p/exe $p/cwd $p/fd/*; do readlink $l && echo read; done
          cat $p/environ $p/maps | grep -q . && echo leaked
          (: >> $p/exe) && echo overwrote
        done 2>/dev/null`;
      await using spy = await victim.exec({
        args: ['sh', '-c', script],
        env: ['PATH=/bin'],
        // in its own user namespace it may have any
        capabilities: mapped ? capabilitySets([...CAPABILITIES]) : spec.process!.capabilities!,
      });
      expect((await collect(await spy.attach())).stdout).toBe('found\n');
      await waiting.delete({ force: true });
      await victim.delete({ force: true });
    },
  );

  // CVE-2017-5226
  it('has no terminal of the caller to push characters into', async () => {
    const container = await lab.runtime.create('c', { spec: shellSpec(lab.rootfs, 'true') });
    const [session, terminal] = fieldsOf(container.pid, 6, 7);
    expect(session).not.toBe(fieldsOf(process.pid, 6)[0]);
    expect(terminal).toBe('0');
    await container.delete({ force: true });
    const script = '(: < /dev/tty) 2>&1; cut -d" " -f6,7 /proc/self/stat';
    const { stdout } = await runToEnd(lab.runtime, 'c', { spec: shellSpec(lab.rootfs, script) });
    expect(stdout).toMatch(/No such device or address\n\d+ 0\n$/);
  });

  // CVE-2019-16884, CVE-2019-19921
  it('gets no folder of its own mounted as /proc', async () => {
    const fake = directory('fake-proc');
    mkdirSync(join(fake, 'self/attr'), { recursive: true });
    const over = shellSpec(lab.rootfs, 'true', ({ mounts }) => mounts!.push(volume(fake, '/proc')));
    await expect(outcome(over)).rejects.toMatchObject({
      code: 'SETUP_FAILED',
      errnoCode: 'EPERM',
      path: '/proc',
    });
    const instead = shellSpec(lab.rootfs, 'true', ({ mounts }) =>
      mounts!.splice(0, 1, volume(fake, '/proc')),
    );
    await expect(outcome(instead)).rejects.toMatchObject({
      code: 'SETUP_FAILED',
      errnoCode: 'EPERM',
      path: '/proc',
    });
    // that of the host is one, whether that is wise or not
    const host = shellSpec(lab.rootfs, 'echo $$', ({ mounts }) =>
      mounts!.splice(0, 1, volume('/proc', '/proc')),
    );
    await expect(outcome(host)).resolves.toMatchObject({ stdout: '1\n' });
  });

  // CVE-2025-52881
  it('gets no kernel setting written to a /proc of the image', async () => {
    const root = directory('root-with-proc');
    const setting = join(root, 'proc/sys/net/ipv4/ip_forward');
    mkdirSync(join(setting, '..'), { recursive: true });
    writeFileSync(setting, 'of the image');
    const spec = shellSpec(root, 'true', (changed) => {
      changed.mounts = [];
      changed.linux!.sysctl = { 'net.ipv4.ip_forward': '1' };
      changed.process!.oomScoreAdj = 321;
    });
    const container = await lab.runtime.create('c', { spec });
    expect(readFileSync(setting, 'utf8')).toBe('of the image');
    expect(readFileSync(`/proc/${container.pid}/oom_score_adj`, 'utf8')).toBe('321\n');
    expect(readSysctl(`/proc/${container.pid}/ns/net`, 'net.ipv4.ip_forward')).toBe('1');
    await container.delete({ force: true });
  });

  // CVE-2025-31133
  it('that owns /dev/null decides nothing about what masks a path', async () => {
    const devices = directory('devices');
    for (const name of ['pts', 'shm', 'mqueue']) mkdirSync(join(devices, name), { recursive: true });
    symlinkSync('/proc/sys/kernel/core_pattern', join(devices, 'null'));
    const script =
      'cat /proc/interrupts | wc -c; stat -f -c %T /proc/interrupts; (echo x > /proc/interrupts) 2>&1';
    const spec = shellSpec(lab.rootfs, script, (changed) => {
      changed.mounts = changed.mounts!.filter(({ destination }) => destination !== '/dev');
      changed.mounts.splice(1, 0, volume(devices, '/dev'));
    });
    const { stdout } = await runToEnd(lab.runtime, 'c', { spec });
    expect(stdout).toMatch(/^0\ntmpfs\n.*Read-only file system\n$/);
  });

  // CVE-2025-52565
  it('that owns /dev/console gets no terminal mounted where it points', async () => {
    const devices = directory('devices-with-console');
    for (const name of ['pts', 'shm', 'mqueue']) mkdirSync(join(devices, name), { recursive: true });
    symlinkSync('/proc/sysrq-trigger', join(devices, 'console'));
    const spec = shellSpec(lab.rootfs, 'true', (changed) => {
      changed.mounts = changed.mounts!.filter(({ destination }) => destination !== '/dev');
      changed.mounts.splice(1, 0, volume(devices, '/dev'));
    });
    await expect(lab.runtime.create('c', { spec, stdio: { terminal: true } })).rejects.toMatchObject({
      code: 'SETUP_FAILED',
      path: '/dev/console',
      errnoCode: 'ELOOP',
    });
  });

  // CVE-2025-52565: what stands for a terminal must be one
  it('that owns /dev/pts gets no file of its own taken for a terminal', async () => {
    const devices = directory('devices-with-ptmx');
    mkdirSync(join(devices, 'pts'));
    for (const name of ['shm', 'mqueue']) mkdirSync(join(devices, name));
    writeFileSync(join(devices, 'pts/ptmx'), '');
    const spec = shellSpec(lab.rootfs, 'true', (changed) => {
      changed.mounts = changed.mounts!.filter(({ destination }) => !/^\/dev(\/pts)?$/.test(destination));
      changed.mounts.splice(1, 0, volume(devices, '/dev'));
    });
    await expect(lab.runtime.create('c', { spec, stdio: { terminal: true } })).rejects.toMatchObject({
      code: 'SETUP_FAILED',
      step: 'TERMINAL',
      errnoCode: 'ENODEV',
    });
  });

  // CVE-2021-30465, CVE-2024-45310, CVE-2026-41579, CVE-2026-47766
  it(
    'that swaps a folder of a shared volume for a link never has anything made outside',
    { timeout: 300_000 },
    async () => {
      const shared = directory('shared');
      const sentinel = directory('sentinel');
      mkdirSync(join(shared, 'place'));
      // absolute: outside the container's root it leads to the sentinel, inside it to nothing
      symlinkSync(sentinel, join(shared, 'link'));
      const spec = shellSpec(lab.rootfs, 'true', (changed) => {
        changed.mounts!.push(
          volume(shared, '/shared'),
          { destination: '/shared/place/mounted', type: 'tmpfs', source: 'tmpfs' },
          volume(directory('source'), '/shared/place/deep/bound'),
        );
        changed.linux!.devices = [{ type: 'c', path: '/shared/place/device', major: 1, minor: 3 }];
        changed.process!.cwd = '/shared/place/cwd';
      });
      const swapper = new Worker(new URL('lab/swap.ts', import.meta.url), {
        workerData: { directory: shared, first: 'place', second: 'link' } satisfies Swap,
        execArgv: process.execArgv,
      });
      const outcomes = { made: 0, refused: 0 };
      try {
        await once(swapper, 'online');
        for (let round = 0; round < ROUNDS; round++) {
          await lab.runtime.create('c', { spec }).then(
            async (container) => {
              outcomes.made++;
              await container.delete({ force: true });
            },
            (error: { code: string }) => {
              outcomes.refused++;
              expect(error.code).toBe('SETUP_FAILED');
            },
          );
          expect(readdirSync(sentinel)).toEqual([]);
        }
      } finally {
        await swapper.terminate();
      }
      // it was a race: the link was met
      expect(outcomes.refused).toBeGreaterThan(0);
    },
  );

  // CVE-2021-43784: lengths that do not fit their field
  it('with names of any length changes nothing but them', async () => {
    const long = 'x'.repeat(70_000);
    const spec = shellSpec(lab.rootfs, 'echo ${#LONG} $SHORT', (changed) => {
      changed.process!.env!.push(`LONG=${long}`, 'SHORT=short');
    });
    expect((await runToEnd(lab.runtime, 'c', { spec })).stdout).toBe('70000 short\n');
    spec.process!.env!.push(`MORE=${'x'.repeat(1 << 20)}`);
    await expect(outcome(spec)).rejects.toMatchObject({ code: 'INVALID_SPEC' });
  });

  // the paths of cgroups that left the root, in crun before 1.28
  it('names no cgroup outside those of the runtime', async () => {
    for (const cgroupsPath of ['../c', '/../c', 'a/../../c', '/a/./c']) {
      const spec = shellSpec(lab.rootfs, 'true', ({ linux }) => Object.assign(linux!, { cgroupsPath }));
      await expect(outcome(spec), cgroupsPath).rejects.toMatchObject({
        code: 'INVALID_SPEC',
        field: 'linux.cgroupsPath',
      });
    }
  });

  // CVE-2020-14370, CVE-2021-21334, CVE-2026-57231
  it('reads no environment but its own', async () => {
    process.env.SECRET_OF_THE_CALLER = 'secret';
    try {
      const spec = shellSpec(lab.rootfs, '', (changed) => {
        changed.process!.args = ['cat', '/proc/self/environ'];
        changed.process!.env = ['PATH=/bin', 'A=b'];
      });
      expect((await runToEnd(lab.runtime, 'c', { spec })).stdout).toBe('PATH=/bin\0A=b\0');
    } finally {
      delete process.env.SECRET_OF_THE_CALLER;
    }
  });

  // CVE-2022-36109, CVE-2023-25173, CVE-2022-2989
  it('is in the groups of the spec and in no others, also where a group has less than everybody', async () => {
    const script =
      'mkdir /tmp/d; touch /tmp/d/denied; chown 0:2000 /tmp/d/denied; chmod 604 /tmp/d/denied; ' +
      'grep Groups /proc/self/status';
    expect((await runToEnd(lab.runtime, 'c', { spec: shellSpec(lab.rootfs, script) })).stdout).toBe(
      'Groups:\t \n',
    );
    const spec = shellSpec(lab.rootfs, 'grep Groups /proc/self/status; cat /tmp/d/denied', (changed) => {
      changed.process!.user = { uid: 1000, gid: 1000, additionalGids: [2000, 3000] };
      changed.process!.capabilities = {};
    });
    expect(await runToEnd(lab.runtime, 'c', { spec })).toMatchObject({
      stdout: 'Groups:\t2000 3000 \n',
      stderr: expect.stringContaining('Permission denied') as string,
      exitCode: 1,
    });
  });

  // CVE-2016-8867, CVE-2018-10856
  it('who is not root has no capability that the spec did not give', async () => {
    const spec = shellSpec(lab.rootfs, 'grep Cap /proc/self/status', (changed) => {
      changed.process!.user = { uid: 1000, gid: 1000 };
      changed.process!.capabilities!.effective = [];
      changed.process!.capabilities!.permitted = [];
    });
    const { stdout } = await runToEnd(lab.runtime, 'c', { spec });
    const none = '0000000000000000';
    expect(stdout).toContain(`CapInh:\t${none}\nCapPrm:\t${none}\nCapEff:\t${none}\n`);
    expect(stdout).toContain(`CapAmb:\t${none}\n`);
  });

  // CVE-2017-16539, CVE-2018-10892, GHSA-jq35-85cj-fj4p, CVE-2024-21626's cousins: what the kernel tells about the host
  it('reads nothing at the masked paths and writes nothing at the read-only ones', async () => {
    const spec = shellSpec(
      lab.rootfs,
      `for p in $MASKED; do [ -e $p ] || continue; [ -d $p ] && ls -A $p || cat $p; done;
       for p in $READONLY; do [ -e $p ] || continue; touch -c $p 2>/dev/null && echo wrote $p; done; echo end`,
      ({ linux, process }) =>
        process!.env!.push(
          `MASKED=${linux!.maskedPaths!.join(' ')}`,
          `READONLY=${linux!.readonlyPaths!.join(' ')}`,
        ),
    );
    expect((await runToEnd(lab.runtime, 'c', { spec })).stdout).toBe('end\n');
  });

  it.runIf(existsSync('/proc/keys'))('is in a session of keys of its own', async () => {
    const sessions = (): string[] =>
      readFileSync('/proc/keys', 'utf8')
        .split('\n')
        .filter((line) => / _ses\b/.test(line))
        .map((line) => line.split(' ')[0]!);
    const before = new Set(sessions());
    // several: containers of other tests come and go meanwhile
    const ids = ['a', 'b', 'c', 'd', 'e', 'f'];
    const spec = shellSpec(lab.rootfs, 'true');
    await Promise.all(ids.map((id) => lab.runtime.create(id, { spec })));
    expect(sessions().filter((key) => !before.has(key)).length).toBeGreaterThanOrEqual(ids.length);
  });

  // CVE-2022-31030, CVE-2022-1708
  it('that writes without end to nobody makes no monitor grow', async () => {
    const container = await lab.runtime.create('c', { spec: shellSpec(lab.rootfs, 'sleep 1000') });
    await container.start();
    await using process = await container.exec({ args: ['yes'], env: ['PATH=/bin'] });
    const attachment = await process.attach();
    const monitor = parentOf(process.pid);
    const before = residentKib(monitor);
    let seen = 0;
    for await (const { data } of attachment.output) {
      seen += data.length;
      if (seen > 20_000_000) break;
    }
    expect(residentKib(monitor) - before).toBeLessThan(4096);
    await container.delete({ force: true });
  });
});

/** Fields of /proc/<pid>/stat, counted from 1 as proc_pid_stat(5) does. */
function fieldsOf(pid: number, ...numbers: number[]): string[] {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return numbers.map((number) => fields[number - 3]!);
}

function parentOf(pid: number): number {
  return Number(fieldsOf(pid, 4)[0]);
}

function residentKib(pid: number): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]);
}

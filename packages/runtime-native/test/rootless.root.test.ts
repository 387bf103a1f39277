/** Containers of a caller without root. The tests need root to become somebody else, and to give them a cgroup. */
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';

import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';

import { detectCgroups } from '../src/cgroups/layout.ts';
import type { Spec } from '../src/spec/index.ts';
import { shellSpec } from '../src/testing/index.ts';
import { UID, delegate, giveAway, runAsUser } from './lab/as-user.ts';
import type { RootlessInput, RootlessOutcome } from './lab/rootless.ts';
import { describeContainers, leftovers, makeLab } from './rootfs.ts';
import type { Lab } from './rootfs.ts';

/** Others must be able to read the sources and to execute Node.js. */
function reachable(): boolean {
  const parts = import.meta.dirname.split('/');
  return parts.every((_, i) => (statSync(parts.slice(0, i + 1).join('/') || '/').mode & 0o001) !== 0);
}

describeContainers('a caller without root', () => {
  let lab: Lab;
  let home: string;
  beforeAll(() => {
    lab = makeLab();
    home = join(lab.directory, 'home');
    mkdirSync(join(home, 'run'), { recursive: true });
    giveAway(lab.rootfs, lab.directory);
    giveAway(home, lab.directory);
  });
  afterEach(() => expect(leftovers(lab)).toEqual([]));
  afterAll(() => lab.dispose());

  /** As `it`, when a user can get at the checkout. */
  const test = reachable() ? it : it.skip;
  if (!reachable()) console.warn('skipped: containers without root (nobody but root can read this checkout)');

  function input(
    script: string,
    change?: (spec: Spec) => void,
    more: Partial<RootlessInput> = {},
  ): RootlessInput {
    const container = { spec: shellSpec(lab.rootfs, script, change), ...more.container };
    return { stateDirectory: join(home, 'state'), ...more, container };
  }

  /** Containers one after the other, by one program: it takes a second to start on a busy machine. */
  async function all(
    inputs: RootlessInput[],
    options: Parameters<typeof runAsUser>[2] = {},
  ): Promise<RootlessOutcome[]> {
    const args = inputs.map((one) => JSON.stringify(one));
    const { stdout, stderr, code } = await runAsUser('rootless.ts', args, options);
    expect({ stderr, code }).toEqual({ stderr: '', code: 0 });
    const outcomes = JSON.parse(stdout) as RootlessOutcome[];
    for (const { list } of outcomes) expect(list).toBe(0);
    return outcomes;
  }

  async function go(
    script: string,
    change?: (spec: Spec) => void,
    more: Partial<RootlessInput> = {},
    cgroup?: ReturnType<typeof delegate>,
  ): Promise<RootlessOutcome> {
    const [outcome] = await all([input(script, change, more)], cgroup ? { cgroup } : {});
    return outcome!;
  }

  test('passes the whole conformance suite, in a cgroup that is its own', async () => {
    const cgroup = delegate(`${lab.cgroupRoot}-own`);
    try {
      const args = [lab.rootfs, join(home, 'state')];
      const { stdout, code } = await runAsUser('rootless-suite.ts', args, { cgroup, timeoutMs: 120_000 });
      expect({ code, failed: /^. fail (\d+)$/m.exec(stdout)?.[1] ?? stdout }).toEqual({
        code: 0,
        failed: '0',
      });
      expect(Number(/^. pass (\d+)$/m.exec(stdout)?.[1])).toBeGreaterThan(30);
    } finally {
      cgroup.remove();
    }
  });

  test('is root in its container, and itself outside', async () => {
    const script = 'id -u; cat /proc/self/uid_map /proc/self/setgroups; touch /mine; echo x > /dev/stdout';
    const { stdout, stderr, exitCode } = await go(script);
    expect({ stderr, exitCode }).toEqual({ stderr: '', exitCode: 0 });
    expect(stdout).toMatch(new RegExp(String.raw`^0\n\s+0\s+${UID}\s+1\ndeny\nx\n$`));
    expect(statSync(join(lab.rootfs, 'mine')).uid).toBe(UID);
  });

  test('hears of everything that it cannot have', async () => {
    const { warnings } = await go('true');
    const v2 = detectCgroups().kind === 'v2';
    expect(v2 ? warnings.filter((field) => field !== 'mounts[4]') : warnings).toEqual([
      'mounts[2].options',
      ...(v2 ? [] : ['mounts[4]']),
      'linux.resources.devices',
    ]);
    const refused: [field: string, change: (spec: Spec) => void][] = [
      ['linux.resources.memory', (spec) => (spec.linux!.resources = { memory: { limit: 1 << 26 } })],
      ['linux.resources.pids', (spec) => (spec.linux!.resources = { pids: { limit: 10 } })],
      ['linux.resources.unified', (spec) => (spec.linux!.resources = { unified: { 'pids.max': '9' } })],
      ['process.user.additionalGids[0]', (spec) => (spec.process!.user.additionalGids = [5])],
      ['process.user.uid', (spec) => (spec.process!.user.uid = 1000)],
      [
        'linux.devices[0]',
        (spec) => (spec.linux!.devices = [{ type: 'c', path: '/dev/x', major: 99, minor: 98 }]),
      ],
      [
        'linux.uidMappings',
        (spec) => {
          spec.linux!.namespaces!.push({ type: 'user' });
          spec.linux!.gidMappings = [{ containerID: 0, hostID: UID, size: 1 }];
        },
      ],
    ];
    const outcomes = await all(refused.map(([, change]) => input('true', change)));
    outcomes.forEach(({ error }, i) => {
      const [field] = refused[i]!;
      expect(error, field).toMatchObject({ field });
      expect(['UNSUPPORTED', 'INVALID_SPEC'], field).toContain(error?.code);
    });
  });

  test('is told which step the kernel refused it', async () => {
    const [limit, joining] = await all([
      input('true', (spec) => {
        spec.process!.rlimits = [{ type: 'RLIMIT_NOFILE', soft: 2 ** 30, hard: 2 ** 30 }];
      }),
      input('true', (spec) => {
        spec.linux!.namespaces = [{ type: 'mount' }, { type: 'network', path: '/proc/1/ns/net' }];
      }),
    ]);
    expect(limit!.error).toMatchObject({ code: 'SETUP_FAILED', step: 'RLIMIT', errnoCode: 'EPERM' });
    expect(joining!.error).toMatchObject({ code: 'SETUP_FAILED', step: 'NAMESPACE_JOIN' });
  });

  test('executes in a running container, and ends all of it without a cgroup', async () => {
    const outcome = await go('sleep 1000 & sleep 1000; true', undefined, {
      exec: {
        args: [
          'sh',
          '-c',
          'id -u; until [ $(ps | grep -c "[0-9] *sleep 1000$") = 2 ]; do :; done; tty; echo x > /dev/stdout',
        ],
        env: ['PATH=/bin'],
        stdio: { terminal: true },
      },
      calls: ['pause', 'resume', 'pids', 'stats'],
    });
    expect(outcome.error).toBeUndefined();
    expect(outcome).toMatchObject({
      exec: { stdout: '0\r\n/dev/pts/0\r\nx\r\n', exitCode: 0 },
      exitCode: 137,
      calls: { pause: 'UNSUPPORTED', resume: 'UNSUPPORTED', stats: ['readAt'] },
    });
    expect(outcome.calls['pids']).toHaveLength(3);
  });

  test('shares the network of the host, and may shift its clocks', async () => {
    const { stdout, error } = await go('cut -d. -f1 /proc/uptime; ls /sys/class/net | grep -c lo', (spec) => {
      spec.linux!.namespaces = spec.linux!.namespaces!.filter(({ type }) => type !== 'network');
      spec.linux!.namespaces.push({ type: 'time' });
      spec.linux!.timeOffsets = { boottime: { secs: 100_000_000 } };
      spec.process!.oomScoreAdj = 800;
    });
    expect(error).toBeUndefined();
    const [uptime, loopback] = stdout!.split('\n');
    expect(Number(uptime)).toBeGreaterThan(100_000_000);
    expect(loopback).toBe('1');
  });

  test('puts containers into the namespaces of one of them', async () => {
    const script =
      'until ps | grep -q "[0-9] *sleep 1000$"; do :; done; id -u; readlink /proc/self/ns/user; readlink /proc/1/ns/user';
    const spec = shellSpec(lab.rootfs, script, ({ linux }) => linux!.namespaces!.push({ type: 'user' }));
    const { neighbour, error } = await go('sleep 1000', undefined, { neighbour: { spec } });
    expect(error).toBeUndefined();
    const [uid, own, first] = neighbour!.stdout.split('\n');
    expect(uid).toBe('0');
    expect(own).toMatch(/^user:/);
    expect(own).toBe(first);
  });

  test('uses an overlay of its own directories', async () => {
    for (const name of ['upper', 'work']) mkdirSync(join(home, name));
    giveAway(home, lab.directory);
    const options = [
      `lowerdir=${lab.rootfs}`,
      `upperdir=${join(home, 'upper')}`,
      `workdir=${join(home, 'work')}`,
    ];
    const container = {
      spec: shellSpec(lab.rootfs, 'echo x > /new; rm /etc/gone; ls /etc'),
      rootfs: [{ type: 'overlay', source: 'overlay', options: [...options, 'userxattr'] }],
    };
    writeFileSync(join(lab.rootfs, 'etc/gone'), '');
    giveAway(lab.rootfs, lab.directory);
    const { stdout, error } = await go('', undefined, { container });
    expect({ stdout, error }).toEqual({ stdout: '', error: undefined });
    expect(readFileSync(join(home, 'upper/new'), 'utf8')).toBe('x\n');
  });

  test('keeps its state where the user has it, and says so when there is no such place', async () => {
    const run = join(home, 'run');
    const args = [JSON.stringify({ container: { spec: shellSpec(lab.rootfs, 'true') } })];
    const inRun = await runAsUser('rootless.ts', args, { env: { XDG_RUNTIME_DIR: run } });
    expect(JSON.parse(inRun.stdout)).toMatchObject([{ exitCode: 0 }]);
    expect(statSync(join(run, 'tare/runtime'))).toMatchObject({ uid: UID, mode: 0o40700 });
    const { stderr, code } = await runAsUser('rootless.ts', args);
    expect(code).not.toBe(0);
    expect(stderr).toContain('set XDG_RUNTIME_DIR or give stateDirectory');
    // nor one of somebody else, who could change it under its hands
    const foreign = await runAsUser('rootless.ts', args, { env: { XDG_RUNTIME_DIR: lab.directory } });
    expect(foreign.stderr).toContain(`${lab.directory} is not user ${UID}'s`);
  });

  test('is limited, paused and counted in the cgroup that is delegated to it', async () => {
    const cgroup = delegate(`${lab.cgroupRoot}-own`);
    const pids = detectCgroups().kind === 'v2';
    try {
      const outcome = await go(
        'sleep 1000',
        (spec) => {
          spec.linux!.resources = {
            unified: { 'cgroup.max.depth': '3' },
            ...(pids ? { pids: { limit: 20 } } : {}),
          };
        },
        {
          calls: ['pause', 'resume', 'pids'],
          exec: { args: ['sh', '-c', 'cat /proc/self/cgroup'], env: ['PATH=/bin'] },
        },
        cgroup,
      );
      expect(outcome).toMatchObject({ exitCode: 137, calls: { pause: 'done', resume: 'done' } });
      expect(outcome.exec!.stdout).toContain('0::/\n');
      // outside of what is its own there is nothing for it
      const elsewhere = await go('true', (spec) => (spec.linux!.cgroupsPath = '/elsewhere'), {}, cgroup);
      expect(elsewhere.error).toMatchObject({ code: 'CGROUP_FAILED', errnoCode: 'EACCES' });
    } finally {
      cgroup.remove();
    }
  });

  test('cannot let its container write to cgroups that it shares with others (CVE-2023-25809)', async () => {
    const cgroup = delegate(`${lab.cgroupRoot}-own`);
    try {
      const script = 'mkdir /sys/fs/cgroup/x 2>&1; echo 1 2>/dev/null > /sys/fs/cgroup/cgroup.procs; echo $?';
      const change = (spec: Spec): void => {
        spec.linux!.namespaces = spec.linux!.namespaces!.filter(({ type }) => type !== 'cgroup');
        spec.mounts!.find(({ type }) => type === 'cgroup')!.options = ['rw'];
      };
      const { stdout } = await go(script, change, {}, cgroup);
      expect(stdout).toBe("mkdir: can't create directory '/sys/fs/cgroup/x': Read-only file system\n1\n");
    } finally {
      cgroup.remove();
    }
  });

  test('maps ranges of ids with newuidmap, and hears what that says', async (context) => {
    const tool = statSync('/usr/bin/newuidmap', { throwIfNoEntry: false });
    context.skip(!tool || (tool.mode & 0o4000) === 0, 'needs newuidmap (package uidmap)');
    const ranges = (spec: Spec): void => {
      spec.linux!.namespaces!.push({ type: 'user' });
      const maps = [
        { containerID: 0, hostID: UID, size: 1 },
        { containerID: 1, hostID: 700_000, size: 1000 },
      ];
      spec.linux!.uidMappings = maps;
      spec.linux!.gidMappings = maps;
      spec.process!.user = { uid: 500, gid: 501, additionalGids: [7] };
    };
    const refused = await go('true', ranges);
    expect(refused.error).toMatchObject({ step: 'USER_NAMESPACE', errnoCode: 'EPERM' });
    expect(refused.error!.message).toContain('newuidmap');

    // as the machine of such a user has them; newuidmap asks for the user's name
    const files: Record<string, string> = {};
    for (const [path, line] of [
      ['/etc/passwd', `tare-user:x:${UID}:${UID}::/:/bin/false`],
      ['/etc/subuid', 'tare-user:700000:1000'],
      ['/etc/subgid', 'tare-user:700000:1000'],
    ] as const) {
      files[path] = join(lab.directory, basename(path));
      writeFileSync(files[path], `${readFileSync(path, 'utf8')}${line}\n`);
    }
    const [asked, everything] = await all(
      [
        input('id -u; id -g; grep Groups /proc/self/status; echo x > /dev/stdout', ranges),
        input('cat /proc/self/gid_map'),
      ],
      { files },
    );
    expect(asked).toMatchObject({ stdout: '500\n501\nGroups:\t7 \nx\n', exitCode: 0 });
    // without asking, a user gets all that it has
    expect(everything!.stdout!.trim().split(/\s+/)).toEqual(['0', String(UID), '1', '1', '700000', '1000']);
  });
});

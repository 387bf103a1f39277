/** userns-remap: root in a container is nobody outside, and everything goes on as before. */
import { readdirSync, readFileSync } from 'node:fs';
import { chmod, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TarBuilder } from '@tare/layer-store/testing';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { missingForEndToEnd, startLab, type Lab } from './lab.ts';

const missing = missingForEndToEnd();
const first = '200000';

describe.skipIf(missing !== undefined)(`userns-remap${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await startLab({ flags: ['--userns-remap', `0:${first}:65536`] });
  });
  afterAll(() => lab?.[Symbol.asyncDispose]());

  const outside = (pid: string) => /^Uid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];

  test('root inside is the first granted id outside; its files keep the ids of the image', async () => {
    await lab.ok(['run', '-d', '--name', 'up', lab.busybox, 'sleep', '600']);
    const pid = await lab.ok(['inspect', '-f', '{{.State.Pid}}', 'up']);
    expect(outside(pid)).toBe(first);
    expect(
      await lab.ok(['exec', 'up', 'sh', '-c', 'id -u; touch /made; stat -c %u:%g /bin/busybox /made']),
    ).toBe('0\n0:0\n0:0');
    expect(await lab.ok(['info', '-f', '{{json .SecurityOptions}}'])).toContain('name=userns');
  });

  test('it may do in its namespaces what root may, and to the host nothing', async () => {
    const script =
      'ip addr add 10.9.9.9/32 dev lo && echo link; hostname other 2>/dev/null && echo name; mknod /k c 1 11 2>/dev/null || echo no node';
    expect(
      await lab.ok([
        'run',
        '--rm',
        '--cap-add',
        'NET_ADMIN',
        '--cap-add',
        'SYS_ADMIN',
        lab.busybox,
        'sh',
        '-c',
        script,
      ]),
    ).toBe('link\nname\nno node');
  });

  test('volumes are its own, folders of the host are not', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'userns-'));
    try {
      await chmod(folder, 0o755);
      await writeFile(join(folder, 'secret'), 'x', { mode: 0o600 });
      const script =
        'echo v > /v/f && cat /v/f; cat /h/secret 2>/dev/null || echo denied; stat -c %u /h/secret';
      expect(
        await lab.ok(['run', '--rm', '-v', 'vol:/v', '-v', `${folder}:/h`, lab.busybox, 'sh', '-c', script]),
      ).toBe('v\ndenied\n65534');
      const file = join(await lab.ok(['volume', 'inspect', '-f', '{{.Mountpoint}}', 'vol']), 'f');
      expect((await stat(file)).uid).toBe(0);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });

  test('networks, ports, names, logs, commit and restarts go on as ever', async () => {
    await lab.ok(['network', 'create', 'net']);
    await lab.ok(['run', '-d', '--name', 'peer', '--net', 'net', lab.busybox, 'sleep', '600']);
    expect(
      await lab.ok([
        'run',
        '--rm',
        '--net',
        'net',
        lab.busybox,
        'sh',
        '-c',
        'ping -c 1 -W 3 peer >/dev/null && echo found',
      ]),
    ).toBe('found');
    await lab.ok(['run', '--name', 'mark', lab.busybox, 'sh', '-c', 'echo text > /mark']);
    await lab.ok(['commit', 'mark', 'marked:1']);
    expect(await lab.ok(['run', '--rm', 'marked:1', 'cat', '/mark'])).toBe('text');
    await lab.restartDaemon('SIGKILL');
    expect(await lab.ok(['exec', 'peer', 'id', '-u'])).toBe('0');
    await lab.ok(['restart', '-t', '0', 'peer']);
    expect(outside(await lab.ok(['inspect', '-f', '{{.State.Pid}}', 'peer']))).toBe(first);
  });

  test('--userns host has the ids of the host; what needs them is refused without', async () => {
    await lab.ok([
      'run',
      '-d',
      '--name',
      'as-host',
      '--userns',
      'host',
      '--privileged',
      lab.busybox,
      'sleep',
      '600',
    ]);
    const pid = await lab.ok(['inspect', '-f', '{{.State.Pid}}', 'as-host']);
    expect(outside(pid)).toBe('0');
    for (const flags of [['--privileged'], ['--net', 'host'], ['--pid', 'host']]) {
      const { code, stderr } = await lab.docker(['run', '--rm', ...flags, lab.busybox, 'true']);
      expect([code, stderr]).toEqual([125, expect.stringMatching(/user namespaces/)]);
    }
  });

  test('files go in and out at any time, and are the container’s', async () => {
    await lab.ok(['run', '-d', '--name', 'files', lab.busybox, 'sh', '-c', 'echo out > /out; sleep 600']);
    const folder = await mkdtemp(join(tmpdir(), 'userns-'));
    try {
      await writeFile(join(folder, 'in'), 'in');
      await lab.ok(['exec', 'files', 'sh', '-c', 'until [ -e /out ]; do sleep 0.05; done']);
      await lab.ok(['cp', 'files:/out', folder]);
      expect(readFileSync(join(folder, 'out'), 'utf8')).toBe('out\n');
      await copyIn('files', folder);
      await lab.ok(['stop', '-t', '0', 'files']);
      await lab.ok(['cp', join(folder, 'in'), 'files:/later']);
      await lab.ok(['start', 'files']);
      expect(await lab.ok(['exec', 'files', 'sh', '-c', 'cat /later; stat -c %u /later'])).toBe('in0');
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });

  /** Puts files of every kind into a container that runs, and looks at them from inside and from outside. */
  const copyIn = async (name: string, folder: string): Promise<void> => {
    await lab.ok([
      'exec',
      name,
      'sh',
      '-c',
      'mkdir -p /home/own/deep; chown -R 7:8 /home/own; chmod 700 /home/own',
    ]);
    await lab.ok(['cp', join(folder, 'in'), `${name}:/in`]);
    await lab.ok(['cp', join(folder, 'in'), `${name}:/home/own/in`]);
    await lab.ok(['cp', join(folder, 'in'), `${name}:/bin/busybox.copy`]);
    const archive = new TarBuilder()
      .file('home/own/deep/mine', 'm', { uid: 7, gid: 8 })
      .symlink('home/own/link', 'in')
      .hardlink('home/own/same', 'home/own/deep/mine')
      .build();
    const put = await lab.api('PUT', `/containers/${name}/archive?path=/`, archive);
    expect([put.status, put.body.toString()]).toEqual([200, '']);
    const nobody = new TarBuilder().file('far', '', { uid: 70_000, gid: 0 }).build();
    expect((await lab.api('PUT', `/containers/${name}/archive?path=/`, nobody)).status).toBe(400);
    const look =
      'cat /in; cat /home/own/link; stat -c %u:%g /in /home/own/in /home/own/deep/mine /home/own/same; rm -r /home/own';
    expect(await lab.ok(['exec', name, 'sh', '-c', look])).toBe('inin0:0\n0:0\n7:8\n7:8');
    const got = await lab.api('GET', `/containers/${name}/archive?path=/in`);
    expect(Number.parseInt(got.body.toString('latin1', 108, 115), 8)).toBe(0);
  };

  test('leaves no namespace behind', async () => {
    await lab.ok(['run', '--rm', lab.busybox, 'true']);
    const running = (await lab.ok(['ps', '-q', '--no-trunc'])).split('\n');
    const names = readdirSync(join(lab.dataRoot, '..', 'run', 'userns'));
    expect(names.every((name) => running.includes(name))).toBe(true);
  });
});

describe.skipIf(missing !== undefined)(
  `a user namespace for one container${missing ? ` (skipped: ${missing})` : ''}`,
  () => {
    let lab: Lab;
    beforeAll(async () => {
      lab = await startLab();
    });
    afterAll(() => lab?.[Symbol.asyncDispose]());

    const firstId = async (name: string): Promise<number> => {
      const pid = await lab.ok(['inspect', '-f', '{{.State.Pid}}', name]);
      return Number(/^Uid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
    };

    test('is asked for with --security-opt, and its ids are nobody else’s', async () => {
      for (const [name, mode] of [
        ['one', 'auto'],
        ['two', 'private'],
      ]) {
        const flags = ['--name', name!, '--security-opt', `userns=${mode}`, '-v', 'shared:/v'];
        await lab.ok(['run', '-d', ...flags, lab.busybox, 'sleep', '600']);
        expect(await lab.ok(['inspect', '-f', '{{.HostConfig.UsernsMode}}', name!])).toBe(mode);
        expect(
          await lab.ok(['exec', name!, 'sh', '-c', 'id -u; touch /v/$HOSTNAME; stat -c %u /bin/busybox']),
        ).toBe('0\n0');
      }
      await lab.ok(['run', '-d', '--name', 'plain', lab.busybox, 'sleep', '600']);
      const [one, two] = [await firstId('one'), await firstId('two')];
      expect(one).toBeGreaterThan(0xffff);
      expect(Math.abs(one - two)).toBeGreaterThan(0xffff);
      expect(await firstId('plain')).toBe(0);
      // what both wrote is root's in both, and on the disk
      expect(await lab.ok(['exec', 'two', 'sh', '-c', 'stat -c %u /v/*'])).toBe('0\n0');
      await lab.restartDaemon('SIGKILL');
      await lab.ok(['restart', '-t', '0', 'one']);
      expect(await firstId('one')).toBe(one);
      await lab.ok(['rm', '-f', 'one']);
      await lab.ok([
        'run',
        '-d',
        '--name',
        'three',
        '--security-opt',
        'userns=auto',
        lab.busybox,
        'sleep',
        '600',
      ]);
      expect(await firstId('three')).toBe(one);
    });

    test('is asked for by clients that let it, and by ours', async () => {
      const body = { Image: lab.busybox, Cmd: ['sleep', '600'], HostConfig: { UsernsMode: 'private' } };
      const created = await lab.api('POST', '/containers/create?name=api', JSON.stringify(body));
      expect(created.status).toBe(201);
      await lab.ok(['start', 'api']);
      expect(await firstId('api')).toBeGreaterThan(0xffff);
      const run = await lab.tare([
        'run',
        '--rm',
        '--userns',
        'auto',
        lab.busybox,
        'cat',
        '/proc/self/uid_map',
      ]);
      expect(run.stdout.trim().split(/\s+/)).toEqual(['0', expect.stringMatching(/^[1-9]/), '65536']);
    });

    test('refuses what needs the host’s, and words that are none', async () => {
      for (const flags of [['--privileged'], ['--net', 'host'], ['--pid', 'host']]) {
        const run = await lab.docker([
          'run',
          '--rm',
          '--security-opt',
          'userns=auto',
          ...flags,
          lab.busybox,
          'true',
        ]);
        expect([run.code, run.stderr]).toEqual([125, expect.stringMatching(/user namespaces/)]);
      }
      const wrong = await lab.docker(['run', '--rm', '--security-opt', 'userns=mine', lab.busybox, 'true']);
      expect([wrong.code, wrong.stderr]).toEqual([
        125,
        expect.stringMatching(/can be host, private or auto/),
      ]);
    });
  },
);

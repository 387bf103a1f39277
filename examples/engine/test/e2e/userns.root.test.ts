/** userns-remap: root in a container is nobody outside, and everything goes on as before. */
import { readdirSync, readFileSync } from 'node:fs';
import { chmod, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
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

  test('files go out at any time, and in while it is stopped', async () => {
    await lab.ok(['run', '-d', '--name', 'files', lab.busybox, 'sh', '-c', 'echo out > /out; sleep 600']);
    const folder = await mkdtemp(join(tmpdir(), 'userns-'));
    try {
      await writeFile(join(folder, 'in'), 'in');
      await lab.ok(['exec', 'files', 'sh', '-c', 'until [ -e /out ]; do sleep 0.05; done']);
      await lab.ok(['cp', 'files:/out', folder]);
      expect(readFileSync(join(folder, 'out'), 'utf8')).toBe('out\n');
      const { stderr } = await lab.docker(['cp', join(folder, 'in'), 'files:/in']);
      expect(stderr).toContain('user namespace of its own; stop it first');
      await lab.ok(['stop', '-t', '0', 'files']);
      await lab.ok(['cp', join(folder, 'in'), 'files:/in']);
      await lab.ok(['start', 'files']);
      expect(await lab.ok(['exec', 'files', 'sh', '-c', 'cat /in; stat -c %u /in'])).toBe('in0');
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });

  test('leaves no namespace behind', async () => {
    await lab.ok(['run', '--rm', lab.busybox, 'true']);
    const running = (await lab.ok(['ps', '-q', '--no-trunc'])).split('\n');
    const names = readdirSync(join(lab.dataRoot, '..', 'run', 'userns'));
    expect(names.every((name) => running.includes(name))).toBe(true);
  });
});

/** Volumes and mounts, as the stock docker CLI asks for them. */
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { mountTable } from '@tare/runtime-native';
import { missingForEndToEnd, startLab, type Lab } from './lab.ts';

const missing = missingForEndToEnd();

describe.skipIf(missing !== undefined)(`volumes${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let lab: Lab;
  let stateful: string;
  let folder: string;
  beforeAll(async () => {
    lab = await startLab();
    stateful = `${lab.registry}stateful`;
    folder = await mkdtemp(join(tmpdir(), 'tare-volumes-'));
    await lab.ok(['pull', '-q', stateful]);
  });
  afterAll(async () => {
    await lab?.ok(['volume', 'prune', '-af']);
    await lab?.[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });

  const mountsBelow = (path: string) =>
    mountTable()
      .map(({ target }) => target)
      .filter((target) => target.startsWith(path));
  const hostMounts = () => mountsBelow(join(lab.dataRoot, '..'));
  const listing = 'stat -c "%n %u:%g %a" /v /v/*; cat /v/seed';
  const seeded = '/v 1000:1001 750\n/v/link 0:0 777\n/v/seed 1000:0 600\nseed';

  test('a new named volume begins with what the image has there, owners and modes included', async () => {
    expect(await lab.ok(['run', '--rm', '-v', 'fresh:/data', stateful, 'ls', '/data'])).toBe('link\nseed');
    expect(await lab.ok(['run', '--rm', '-v', 'fresh:/v', lab.busybox, 'sh', '-c', listing])).toBe(seeded);
    expect(hostMounts()).toEqual([]);
  });

  test('a volume that has something is not filled again', async () => {
    await lab.ok(['run', '--rm', '-v', 'own:/v', lab.busybox, 'touch', '/v/mine']);
    expect(await lab.ok(['run', '--rm', '-v', 'own:/data', stateful, 'ls', '/data'])).toBe('mine');
  });

  test.for<[string, string[]]>([
    ['-v …:nocopy', ['-v', 'empty-1:/data:nocopy']],
    ['--mount …,volume-nocopy', ['--mount', 'type=volume,src=empty-2,dst=/data,volume-nocopy']],
  ])('%s leaves a new volume empty', async ([, flags]) => {
    expect(await lab.ok(['run', '--rm', ...flags, stateful, 'ls', '-A', '/data'])).toBe('');
  });

  test('containers made at once fill one volume once', async () => {
    const outputs = await Promise.all(
      Array.from({ length: 4 }, () =>
        lab.ok(['run', '--rm', '-v', 'race:/data', stateful, 'cat', '/data/seed', '/data/link']),
      ),
    );
    expect(outputs).toEqual(Array(4).fill('seedseed'));
  });

  test("the image's volume is anonymous, filled, shared by --volumes-from, and gone with rm -v", async () => {
    await lab.ok(['run', '-d', '--name', 'keeper', stateful, 'sleep', '300']);
    const [{ Mounts: mounts }] = JSON.parse(await lab.ok(['inspect', 'keeper']));
    expect(mounts).toMatchObject([{ Type: 'volume', Destination: '/data', RW: true, Driver: 'local' }]);
    const { Name: name } = mounts[0] as { Name: string };
    expect(name).toMatch(/^[0-9a-f]{64}$/);
    expect(await lab.ok(['exec', 'keeper', 'cat', '/data/seed'])).toBe('seed');
    await lab.ok(['run', '--rm', '--volumes-from', 'keeper', lab.busybox, 'touch', '/data/other']);
    expect(await lab.ok(['exec', 'keeper', 'ls', '/data'])).toBe('link\nother\nseed');
    const readOnly = await lab.docker([
      'run',
      '--rm',
      '--volumes-from',
      'keeper:ro',
      lab.busybox,
      'touch',
      '/data/x',
    ]);
    expect(readOnly.stderr).toMatch(/Read-only file system/);
    expect(await lab.ok(['volume', 'ls', '-q'])).toContain(name);
    await lab.ok(['rm', '-fv', 'keeper']);
    expect(await lab.ok(['volume', 'ls', '-q'])).not.toContain(name);
  });

  test('run --rm removes the anonymous volumes, and only them', async () => {
    const before = await lab.ok(['volume', 'ls', '-q']);
    await lab.ok(['run', '--rm', '-v', '/anonymous', '-v', 'named:/n', stateful, 'true']);
    const after = await lab.ok(['volume', 'ls', '-q']);
    expect(after.split('\n').sort()).toEqual([...before.split('\n'), 'named'].sort());
  });

  test('a part of a volume is mounted by its subpath, a file too', async () => {
    await lab.ok([
      'run',
      '--rm',
      '-v',
      'parts:/v',
      lab.busybox,
      'sh',
      '-c',
      'mkdir -p /v/a/b; echo deep > /v/a/b/file; ln -s ../../.. /v/a/out; ln -s /a/b /v/in',
    ]);
    const subpath = (path: string, command: string[]) =>
      lab.docker([
        'run',
        '--rm',
        '--mount',
        `type=volume,src=parts,dst=/p,volume-subpath=${path}`,
        lab.busybox,
        ...command,
      ]);
    expect(await subpath('a/b', ['cat', '/p/file'])).toMatchObject({ stdout: 'deep\n', code: 0 });
    expect(await subpath('a/b/file', ['cat', '/p'])).toMatchObject({ stdout: 'deep\n', code: 0 });
    // a link in a volume means a place in the volume, also one that tries to leave it
    expect(await subpath('in', ['cat', '/p/file'])).toMatchObject({ stdout: 'deep\n', code: 0 });
    expect(await subpath('a/out', ['ls', '/p'])).toMatchObject({ stdout: 'a\nin\n', code: 0 });
    expect((await subpath('no/such', ['true'])).stderr).toMatch(/cannot access path parts\/no\/such/);
    expect((await subpath('../x', ['true'])).stderr).toMatch(
      /subpath must be a relative path within the volume/,
    );
    expect(hostMounts()).toEqual([]);
  });

  test('an image is mounted read-only, whole or in part, and cannot be removed meanwhile', async () => {
    const mount = (more = '') => ['--mount', `type=image,src=${stateful},dst=/i${more}`];
    expect(await lab.ok(['run', '--rm', ...mount(), lab.busybox, 'cat', '/i/opt/part/file'])).toBe('in part');
    expect(await lab.ok(['run', '--rm', ...mount(',image-subpath=opt/part'), lab.busybox, 'ls', '/i'])).toBe(
      'file',
    );
    expect((await lab.docker(['run', '--rm', ...mount(), lab.busybox, 'touch', '/i/x'])).stderr).toMatch(
      /Read-only file system/,
    );
    await lab.ok(['create', '--name', 'holds', ...mount(), lab.busybox, 'cat', '/i/data/seed']);
    expect((await lab.docker(['rmi', stateful])).stderr).toMatch(/conflict: unable to (remove|delete)/);
    expect(await lab.ok(['start', '-a', 'holds'])).toBe('seed');
    const [{ Mounts: mounts }] = JSON.parse(await lab.ok(['inspect', 'holds']));
    expect(mounts).toMatchObject([{ Type: 'image', Source: stateful, Destination: '/i', RW: false }]);
    await lab.ok(['rm', 'holds']);
    const absent = await lab.docker([
      'run',
      '--rm',
      '--mount',
      'type=image,src=nowhere.invalid/none,dst=/i',
      lab.busybox,
      'true',
    ]);
    expect(absent.code).toBe(125);
    expect(absent.stderr).toMatch(/No such image: nowhere\.invalid\/none/);
    expect(hostMounts()).toEqual([]);
  });

  test('cp reads what a stopped container has of images and parts of volumes', async () => {
    await lab.ok(['run', '--rm', '-v', 'cp:/v', lab.busybox, 'sh', '-c', 'mkdir /v/a; echo part > /v/a/f']);
    await lab.ok([
      'create',
      '--name',
      'still',
      '--mount',
      `type=image,src=${stateful},dst=/i`,
      '--mount',
      'type=volume,src=cp,dst=/p,volume-subpath=a',
      lab.busybox,
    ]);
    const copied = async (path: string) => {
      const target = join(folder, 'copied');
      await lab.ok(['cp', `still:${path}`, target]);
      return readFile(target, 'utf8');
    };
    expect(await copied('/i/opt/part/file')).toBe('in part');
    expect(await copied('/p/f')).toBe('part\n');
    await lab.ok(['rm', 'still']);
    expect(hostMounts()).toEqual([]);
  });

  test('a volume of type tmpfs is shared by those who run, and empty after the last of them', async () => {
    const options = ['-o', 'type=tmpfs', '-o', 'device=tmpfs', '-o', 'o=size=1m,mode=1770'];
    await lab.ok(['volume', 'create', ...options, 'memory']);
    await lab.ok(['run', '-d', '--name', 'first', '-v', 'memory:/m', lab.busybox, 'sleep', '300']);
    await lab.ok(['exec', 'first', 'sh', '-c', 'echo shared > /m/file']);
    expect(await lab.ok(['run', '--rm', '-v', 'memory:/m', lab.busybox, 'cat', '/m/file'])).toBe('shared');
    const size = await lab.docker(['exec', 'first', 'dd', 'if=/dev/zero', 'of=/m/big', 'bs=1M', 'count=2']);
    expect(size.stderr).toMatch(/No space left on device/);
    expect((await lab.docker(['volume', 'rm', 'memory'])).stderr).toMatch(/volume is in use - \[/);
    await lab.restartDaemon('SIGKILL');
    expect(await lab.ok(['run', '--rm', '-v', 'memory:/m', lab.busybox, 'cat', '/m/file'])).toBe('shared');
    await lab.ok(['rm', '-f', 'first']);
    expect(hostMounts()).toEqual([]);
    expect(await lab.ok(['run', '--rm', '-v', 'memory:/m', lab.busybox, 'ls', '/m'])).toBe('');
    await lab.ok(['volume', 'rm', 'memory']);
  });

  test('a volume can be a folder of the host, which outlives it', async () => {
    const source = join(folder, 'device');
    await mkdir(source);
    await lab.ok(['volume', 'create', '-o', 'type=none', '-o', `device=${source}`, '-o', 'o=bind', 'host']);
    await lab.ok(['run', '--rm', '-v', 'host:/h', lab.busybox, 'sh', '-c', 'echo kept > /h/file']);
    // also when the daemon is killed while it is mounted, and nobody unmounts
    await lab.ok(['run', '-d', '--name', 'user', '-v', 'host:/h', lab.busybox, 'sleep', '300']);
    await lab.restartDaemon('SIGKILL');
    await lab.ok(['rm', '-f', 'user']);
    await lab.ok(['volume', 'rm', 'host']);
    expect(await readFile(join(source, 'file'), 'utf8')).toBe('kept\n');
  });

  test.for<[string[], RegExp]>([
    [['-o', 'type=tmpfs'], /missing required option: "device"/],
    [['-o', 'o=bind'], /missing required option: "(type|device)"/],
    [['-o', 'bogus=1'], /invalid option: "bogus"/],
    [['-o', 'size=1g'], /quota size requested but no quota support/],
    [['-d', 'nosuch'], /plugin "nosuch" not found/],
    [
      ['-o', 'type=nfs', '-o', 'device=:/x', '-o', 'o=addr=192.0.2.1'],
      /nfs file system, which is not loaded here: modprobe nfs/,
    ],
  ])('volume create %j is refused', async ([flags, message]) => {
    const result = await lab.docker(['volume', 'create', ...flags, 'refused']);
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(message);
    expect(await lab.ok(['volume', 'ls', '-q'])).not.toContain('refused');
  });

  test('a volume that cannot be mounted fails the start, which can be repeated', async () => {
    const source = join(folder, 'later');
    await lab.ok(['volume', 'create', '-o', 'type=none', '-o', `device=${source}`, '-o', 'o=bind', 'later']);
    await lab.ok(['create', '--name', 'waits', '-v', 'later:/l', lab.busybox, 'cat', '/l/file']);
    expect((await lab.docker(['start', '-a', 'waits'])).stderr).toMatch(
      /failed to mount local volume: mount .*no such file or directory/i,
    );
    await mkdir(source);
    await writeFile(join(source, 'file'), 'now');
    expect(await lab.ok(['start', '-a', 'waits'])).toBe('now');
    await lab.ok(['rm', 'waits']);
    await lab.ok(['volume', 'rm', 'later']);
  });

  test('options of a volume can come with the mount that makes it', async () => {
    const mount = 'type=volume,src=inline,dst=/m,volume-opt=type=tmpfs,volume-opt=device=tmpfs';
    expect(await lab.ok(['run', '--rm', '--mount', mount, lab.busybox, 'stat', '-fc', '%T', '/m'])).toBe(
      'tmpfs',
    );
    expect(await lab.ok(['volume', 'inspect', '-f', '{{json .Options}}', 'inline'])).toBe(
      '{"device":"tmpfs","type":"tmpfs"}',
    );
  });

  test('a read-only bind is read-only in what is mounted below it, unless one wants it otherwise', async () => {
    const source = join(folder, 'tree');
    await mkdir(join(source, 'below'), { recursive: true });
    await lab.ok(['volume', 'create', '-o', 'type=tmpfs', '-o', 'device=tmpfs', 'under']);
    await lab.ok(['run', '-d', '--name', 'under', '-v', 'under:/u', lab.busybox, 'sleep', '300']);
    const data = await lab.ok(['volume', 'inspect', '-f', '{{.Mountpoint}}', 'under']);
    const parent = join(data, '..');
    const touch = (options: string) =>
      lab.docker([
        'run',
        '--rm',
        '--mount',
        `type=bind,src=${parent},dst=/t,${options}`,
        lab.busybox,
        'touch',
        '/t/_data/x',
      ]);
    expect((await touch('readonly')).stderr).toMatch(/Read-only file system/);
    expect((await touch('readonly,bind-recursive=writable')).code).toBe(0);
    expect((await touch('readonly,bind-recursive=readonly,bind-propagation=rprivate')).stderr).toMatch(
      /Read-only file system/,
    );
    await lab.ok(['rm', '-f', 'under']);
  });

  test('propagation that the host does not offer is refused', async () => {
    const result = await lab.docker(['run', '--rm', '-v', `${folder}:/f:rshared`, lab.busybox, 'true']);
    expect(result.stderr).toMatch(/is mounted on .* but it is not a shared mount/);
    expect(result.code).toBe(125);
  });

  test('prune takes what filters let it', async () => {
    await lab.ok(['volume', 'create', '--label', 'keep=yes', 'labelled']);
    await lab.ok(['volume', 'create', 'plain']);
    await lab.ok(['volume', 'create']);
    const names = async () => (await lab.ok(['volume', 'ls', '-q'])).split('\n');
    await lab.ok(['volume', 'prune', '-f']);
    expect(await names()).toEqual(expect.arrayContaining(['labelled', 'plain']));
    expect((await names()).every((name) => name.length < 64)).toBe(true);
    await lab.ok(['volume', 'prune', '-af', '--filter', 'label!=keep']);
    expect(await names()).toEqual(['labelled']);
    await lab.ok(['volume', 'prune', '-af', '--filter', 'label=keep=yes']);
    expect(await names()).toEqual(['']);
    expect(await readdir(join(lab.dataRoot, 'volumes'))).toEqual([]);
  });
});

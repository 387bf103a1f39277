/** Files of containers with the stock CLI: cp both ways, diff, export. */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { lstat, mkdir, mkdtemp, readFile, readlink, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TarBuilder } from '@tare/layer-store/testing';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { run } from '../../../../test/lab/process.ts';
import { missingForEndToEnd, startLab, type Lab } from './lab.ts';

const missing = missingForEndToEnd();

describe.skipIf(missing !== undefined)(`files${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let lab: Lab;
  let folder: string;
  beforeAll(async () => {
    lab = await startLab();
    folder = await mkdtemp(join(tmpdir(), 'files-'));
    const script = 'mkdir -p /d/sub; echo one > /d/one; echo two > /d/sub/two; ln -s one /d/link; sleep 600';
    await lab.ok(['run', '-d', '--name', 'up', '-v', 'vol:/vol', lab.busybox, 'sh', '-c', script]);
    await lab.ok([
      'run',
      '--name',
      'down',
      '-v',
      'vol2:/vol',
      lab.busybox,
      'sh',
      '-c',
      script.replace('sleep 600', ':'),
    ]);
  });
  afterAll(async () => {
    await lab?.[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });
  const at = (...parts: string[]): string => join(folder, ...parts);

  describe.each(['up', 'down'])('of a container that is %s', (name) => {
    test('a file, a directory and a link come out as they are', async () => {
      await mkdir(at(`out-${name}`));
      await lab.ok(['cp', `${name}:/d/one`, at(`out-${name}`)]);
      await lab.ok(['cp', `${name}:/d`, at(`out-${name}`, 'renamed')]);
      await lab.ok(['cp', `${name}:/d/link`, at(`out-${name}`)]);
      await lab.ok(['cp', '-L', `${name}:/d/link`, at(`out-${name}`, 'followed')]);
      expect(await readFile(at(`out-${name}`, 'one'), 'utf8')).toBe('one\n');
      expect(await readFile(at(`out-${name}`, 'renamed/sub/two'), 'utf8')).toBe('two\n');
      expect(await readlink(at(`out-${name}`, 'link'))).toBe('one');
      expect(await readFile(at(`out-${name}`, 'followed'), 'utf8')).toBe('one\n');
    });

    test('the content of a directory comes out without it, and a tar through standard output', async () => {
      await mkdir(at(`content-${name}`));
      await lab.ok(['cp', `${name}:/d/.`, at(`content-${name}`)]);
      expect(existsSync(at(`content-${name}`, 'sub/two'))).toBe(true);
      // not synchronous: the lab listens in between client and daemon, in this process
      const { stdout: list } = await run('sh', [
        '-c',
        'docker -H "$1" cp "$2":/d - | tar -tf -',
        '-',
        lab.host,
        name,
      ]);
      expect(list.split('\n')).toEqual(['d/', 'd/link', 'd/one', 'd/sub/', 'd/sub/two', '']);
    });

    test('files go in, over others, into directories and into a volume', async () => {
      await mkdir(at(`in-${name}/tree/deep`), { recursive: true });
      await writeFile(at(`in-${name}/tree/deep/file`), 'from outside', { mode: 0o640 });
      await writeFile(at(`in-${name}/single`), 'replaced');
      await symlink('deep/file', at(`in-${name}/tree/link`));
      await lab.ok(['cp', at(`in-${name}/tree`), `${name}:/d`]);
      await lab.ok(['cp', at(`in-${name}/single`), `${name}:/d/one`]);
      await lab.ok(['cp', `${at(`in-${name}/tree`)}/.`, `${name}:/vol`]);
      await lab.ok(['cp', at(`in-${name}/single`), `${name}:/new`]);
      const back = at(`back-${name}`);
      await lab.ok(['cp', `${name}:/d`, back]);
      expect(await readFile(join(back, 'one'), 'utf8')).toBe('replaced');
      expect(await readFile(join(back, 'tree/link'), 'utf8')).toBe('from outside');
      expect((await lstat(join(back, 'tree/deep/file'))).mode & 0o777).toBe(0o640);
      const volume = name === 'up' ? 'vol' : 'vol2';
      const script = 'cat /vol/link';
      expect(await lab.ok(['run', '--rm', '-v', `${volume}:/vol`, lab.busybox, 'sh', '-c', script])).toBe(
        'from outside',
      );
      if (name === 'up') expect(await lab.ok(['exec', name, 'cat', '/new'])).toBe('replaced');
    });

    test('what is not there, and what is no directory, are told in dockerd’s words', async () => {
      const absent = await lab.docker(['cp', `${name}:/none`, folder]);
      expect(absent.code).toBe(1);
      expect(absent.stderr).toMatch(/Could not find the file \/none in container/);
      const into = await lab.docker(['cp', at(`in-${name}/single`), `${name}:/none/x`]);
      expect(into.stderr).toMatch(
        /Could not find the file \/none in container|No such (container:path|directory)/,
      );
      const reply = await lab.api(
        'PUT',
        `/containers/${name}/archive?path=/d/sub/two`,
        new TarBuilder().build(),
      );
      expect(reply).toMatchObject({ status: 400 });
      expect(reply.json()).toEqual({ message: 'extraction point is not a directory' });
      expect((await lab.api('GET', `/containers/${name}/archive`)).status).toBe(400);
      expect((await lab.api('HEAD', `/containers/${name}/archive?path=/none`)).status).toBe(404);
      const broken = await lab.api('PUT', `/containers/${name}/archive?path=/d`, Buffer.alloc(2000, 'x'));
      expect(broken.status).toBe(400);
      const escaping = new TarBuilder().file('../../../../escaped', 'x').build();
      expect((await lab.api('PUT', `/containers/${name}/archive?path=/d`, escaping)).status).toBe(400);
    });

    test('HEAD tells what is there in the header, links with where they lead', async () => {
      const stat = async (path: string): Promise<unknown> => {
        const { headers } = await lab.api('HEAD', `/containers/${name}/archive?path=${path}`);
        const encoded = headers['x-docker-container-path-stat'] as string;
        return JSON.parse(Buffer.from(encoded, 'base64').toString());
      };
      expect(await stat('/d/sub')).toMatchObject({ name: 'sub', mode: 2 ** 31 + 0o755, linkTarget: '' });
      expect(await stat('d/link')).toMatchObject({
        name: 'link',
        mode: 2 ** 27 + 0o777,
        linkTarget: '/d/one',
      });
      expect(await stat('/d/sub/two')).toEqual({
        name: 'two',
        size: 4,
        mode: 0o644,
        mtime: expect.stringMatching(/^20/),
        linkTarget: '',
      });
    });

    test('links of the container lead nowhere but into the container', async () => {
      const victim = at(`victim-${name}`);
      await mkdir(victim);
      const links = new TarBuilder()
        .symlink('evil', victim)
        .symlink('up', '../../../../..' + victim)
        .build();
      expect((await lab.api('PUT', `/containers/${name}/archive?path=/d`, links)).status).toBe(200);
      const write = async (path: string): Promise<number> =>
        (
          await lab.api(
            'PUT',
            `/containers/${name}/archive?path=${path}`,
            new TarBuilder().file('x', 'y').build(),
          )
        ).status;
      expect(await write('/d/evil')).toBe(404);
      expect(await write('/d/up')).toBe(404);
      const through = new TarBuilder().file('evil/x', 'y').build();
      expect((await lab.api('PUT', `/containers/${name}/archive?path=/d`, through)).status).toBe(200);
      expect(existsSync(join(victim, 'x'))).toBe(false);
      expect((await lab.api('GET', `/containers/${name}/archive?path=/d/evil/`)).status).toBe(200);
      expect((await lab.docker(['cp', `${name}:${victim}/x`, at(`again-${name}`)])).code).toBe(0);
    });

    test('export is the file system without its volumes', async () => {
      const archive = at(`export-${name}.tar`);
      await lab.ok(['export', '-o', archive, name]);
      const names = execFileSync('tar', ['-tf', archive], { encoding: 'utf8' }).split('\n');
      expect(names).toEqual(expect.arrayContaining(['./', 'bin/', 'bin/sh', 'd/sub/two', 'vol/']));
      expect(names.filter((entry) => entry.startsWith('vol/'))).toEqual(['vol/']);
      expect(names.filter((entry) => entry.startsWith('proc/'))).toHaveLength(1);
    });
  });

  test('a read-only root and a read-only volume refuse, a volume in a read-only root does not', async () => {
    await writeFile(at('any'), 'x');
    const flags = ['--read-only', '-v', 'rw:/rw', '-v', 'vol:/ro:ro'];
    await lab.ok(['create', '--name', 'fixed', ...flags, lab.busybox, 'sh']);
    expect((await lab.docker(['cp', at('any'), 'fixed:/etc/any'])).stderr).toContain('is marked read-only');
    expect((await lab.docker(['cp', at('any'), 'fixed:/ro/any'])).stderr).toContain('is marked read-only');
    await lab.ok(['cp', at('any'), 'fixed:/rw/any']);
    await lab.ok(['rm', 'fixed']);
  });

  test('cp -a keeps owners, and without it the archive decides', async () => {
    await lab.ok([
      'create',
      '--name',
      'owned',
      '-u',
      '1000:1000',
      lab.busybox,
      'stat',
      '-c',
      '%u:%g',
      '/tmp2/f',
      '/tmp2/g',
    ]);
    const archive = new TarBuilder().directory('tmp2/').file('tmp2/f', '', { uid: 7, gid: 8 }).build();
    await lab.api('PUT', '/containers/owned/archive?path=/', archive);
    const second = new TarBuilder().file('g', '', { uid: 7, gid: 8 }).build();
    await lab.api('PUT', '/containers/owned/archive?path=/tmp2&copyUIDGID=1', second);
    expect(await lab.ok(['start', '-a', 'owned'])).toBe('7:8\n1000:1000');
    await lab.ok(['rm', 'owned']);
  });

  test('diff lists what was added, changed and removed', async () => {
    const script = 'rm /etc/passwd; echo x > /etc/new; mkdir /made; touch /made/in';
    await lab.ok(['run', '--name', 'changed', lab.busybox, 'sh', '-c', script]);
    expect(await lab.ok(['diff', 'changed'])).toBe('C /etc\nA /etc/new\nD /etc/passwd\nA /made\nA /made/in');
    await lab.ok(['create', '--name', 'unchanged', lab.busybox]);
    expect(await lab.ok(['diff', 'unchanged'])).toBe('');
    await lab.ok(['rm', 'changed', 'unchanged']);
  });

  test('a file of a hundred megabytes goes in and comes out', async () => {
    const large = at('large');
    execFileSync('sh', ['-c', `head -c 100000000 /dev/urandom > ${large}`]);
    await lab.ok(['cp', large, 'down:/large']);
    await lab.ok(['cp', 'down:/large', at('large-again')]);
    execFileSync('cmp', [large, at('large-again')]);
  });
});

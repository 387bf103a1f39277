/** `cp`, `update` and `manifest` of `tare` beside those of the stock docker CLI, on the same daemon and the same files. */
import { spawnSync } from 'node:child_process';
import {
  cp,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  readlink,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { run, type Finished } from '../../../../test/lab/process.ts';
import { COMPONENTS, componentPath } from '../../../../test/lab/debian.ts';
import { missingForEndToEnd, startLab, tareCommand, type Lab } from './lab.ts';

const missing = missingForEndToEnd();

describe.skipIf(missing !== undefined)(`files and tare${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let lab: Lab;
  let folder: string;
  beforeAll(async () => {
    lab = await startLab();
    folder = await mkdtemp(join(tmpdir(), 'cp-'));
    const make =
      'mkdir -p /tree/sub /empty; echo one >/tree/one; echo two >/tree/sub/two; chmod 750 /tree/sub; ' +
      'ln -s one /tree/link; ln -s /tree /to-tree; ln -s nowhere /dangling; sleep 1000';
    await lab.ok(['run', '-d', '--name', 'box', lab.busybox, 'sh', '-c', make]);
  });
  afterAll(async () => {
    await lab?.[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });

  /** A place with a file, a tree, and a link to each. */
  async function place(): Promise<string> {
    const path = await mkdtemp(join(folder, 'p-'));
    await mkdir(join(path, 'dir/deep'), { recursive: true });
    await writeFile(join(path, 'file'), 'from here', { mode: 0o640 });
    await writeFile(join(path, 'dir/deep/x'), 'x');
    await writeFile(join(path, 'dir/there'), 'was there');
    await symlink('file', join(path, 'link'));
    await symlink('dir', join(path, 'dir-link'));
    return path;
  }

  /** Every path below with what it is. */
  async function listing(path: string): Promise<string[]> {
    const names = (await readdir(path, { recursive: true })).sort();
    return Promise.all(
      names.map(async (name) => {
        const stat = await lstat(join(path, name));
        const mode = (stat.mode & 0o777).toString(8);
        if (stat.isSymbolicLink()) return `${name} -> ${await readlink(join(path, name))}`;
        return stat.isDirectory()
          ? `${name}/ ${mode}`
          : `${name} ${mode} ${await readFile(join(path, name), 'utf8')}`;
      }),
    );
  }

  const clients = {
    tare: [process.execPath, ...tareCommand()],
    docker: [componentPath(COMPONENTS.docker) ?? ''],
  };
  function command(client: keyof typeof clients, args: string[], cwd: string): Promise<Finished> {
    const [program, ...words] = [...clients[client], '-H', lab.host, ...args];
    return run(program!, words, { cwd, env: { PATH: process.env.PATH, HOME: folder } });
  }

  const out: [from: string, to: string, flags?: string[]][] = [
    ['/tree/one', 'new'],
    ['/tree/one', 'dir'],
    ['/tree/one', 'link'],
    ['/tree/one', 'nowhere/'],
    ['/tree/one', '.'],
    ['/tree', 'dir'],
    ['/tree/.', 'dir'],
    ['/tree/.', 'new'],
    ['/tree/', 'dir-link'],
    ['/tree', 'file'],
    ['/tree/link', 'new'],
    ['/to-tree', 'new', ['-L']],
    ['/dangling', 'new'],
    ['/nosuch', 'new'],
    ['tree/one', 'new'],
  ];
  test.for(out)('copies %s out to %s', async ([from, to, flags = []]) => {
    const [ours, theirs] = [await place(), await place()];
    const one = await command('tare', ['cp', ...flags, `box:${from}`, to], ours);
    const other = await command('docker', ['cp', ...flags, `box:${from}`, to], theirs);
    expect([one.code, one.stdout]).toEqual([other.code, other.stdout]);
    expect(await listing(ours)).toEqual(await listing(theirs));
    expect(one.stderr === '').toBe(other.stderr === '');
  });

  const into: [from: string, to: string, flags?: string[]][] = [
    ['file', '/new'],
    ['file', '/old'],
    ['file', '/nowhere/'],
    ['file', '/dir'],
    ['file', '/link'],
    ['dir', '/dir'],
    ['dir/.', '/new'],
    ['dir', '/old'],
    ['link', '/new', ['-L']],
    ['dir-link', '/new'],
    ['dir-link/', '/new'],
    ['nosuch', '/new'],
    ['file', 'relative'],
    ['file', '/new', ['-a']],
  ];
  test.for(into)('copies %s in to %s', async ([from, to, flags = []]) => {
    const here = await place();
    const inside = async (client: keyof typeof clients): Promise<unknown> => {
      const make = 'rm -rf /d; mkdir -p /d/dir; cd /d; echo old >old; ln -s old link; ln -s dir dir-link';
      await lab.ok(['exec', 'box', 'sh', '-c', make]);
      const target = to.startsWith('/') ? `/d${to}` : `d/${to}`;
      const { code, stdout, stderr } = await command(client, ['cp', ...flags, from, `box:${target}`], here);
      const look = 'find /d | sort | xargs stat -c "%n %F %a %u"; cat /d/old';
      const found = await lab.ok(['exec', 'box', 'sh', '-c', look]);
      return { code, stdout, silent: stderr === '', found };
    };
    expect(await inside('tare')).toEqual(await inside('docker'));
  });

  test('takes archives from standard input, and gives them to standard output', async () => {
    const here = await place();
    const tar = spawnSync('tar', ['-C', here, '-c', 'dir']).stdout;
    const sent = await lab.tare(['cp', '-', 'box:/empty'], { input: tar.toString() });
    expect([sent.code, sent.stderr]).toEqual([0, '']);
    expect(await lab.ok(['exec', 'box', 'cat', '/empty/dir/there'])).toBe('was there');
    const { stdout } = await lab.tare(['cp', 'box:/tree/sub/two', '-']);
    expect(String(spawnSync('tar', ['-xO'], { input: stdout }).stdout)).toBe('two\n');
    await lab.ok(['exec', 'box', 'rm', '-r', '/empty/dir']);
  });

  test('never writes outside of where a hostile tree is copied to', async () => {
    const here = await place();
    const secret = join(here, 'file');
    // in the container, the name that is a directory of the archive is first a link out of the target
    await lab.ok([
      'exec',
      'box',
      'sh',
      '-c',
      `mkdir -p /evil; ln -s ${here} /evil/out; ln -s ${secret} /evil/file`,
    ]);
    await mkdir(join(here, 'target'));
    await symlink(here, join(here, 'target', 'out'));
    const { code } = await command('tare', ['cp', 'box:/evil/.', 'target'], here);
    expect(code).toBe(0);
    expect(await readFile(secret, 'utf8')).toBe('from here');
    expect(await readlink(join(here, 'target', 'out'))).toBe(here);
  });

  test('updates limits and restart policies', async () => {
    expect(
      await lab.tare(['update', '--restart', 'on-failure:3', '--pids-limit', '77', 'box']),
    ).toMatchObject({ code: 0, stdout: 'box\n' });
    const shown = await lab.ok([
      'inspect',
      '-f',
      '{{.HostConfig.RestartPolicy}} {{.HostConfig.PidsLimit}}',
      'box',
    ]);
    expect(shown).toBe('{on-failure 3} 77');
    const nothing = await lab.tare(['update', 'box']);
    expect([nothing.code, nothing.stderr]).toEqual([
      1,
      'you must provide one or more flags when using this command\n',
    ]);
  });

  test('puts images of several platforms under one name, as docker does', async () => {
    const list = (client: string): string => `${lab.registry}many:${client}`;
    for (const client of ['tare', 'docker'] as const) {
      const say = async (...args: string[]): Promise<string> => {
        const { code, stdout, stderr } = await command(client, ['manifest', ...args], folder);
        expect([code, stderr], args.join(' ')).toEqual([0, '']);
        return stdout;
      };
      await say('create', '--insecure', list(client), lab.busybox, `${lab.registry}configured:latest`);
      await say(
        'annotate',
        '--arch',
        'arm64',
        '--variant',
        'v8',
        list(client),
        `${lab.registry}configured:latest`,
      );
      expect(await say('push', '--insecure', '-p', list(client))).toMatch(
        /^(?:Pushed ref \S+ with digest: \S+\n){2}sha256:[0-9a-f]{64}\n$/,
      );
      expect((await command(client, ['manifest', 'rm', list(client)], folder)).code).toBe(1);
    }
    const shown = async (client: 'tare' | 'docker', of: string): Promise<unknown> =>
      JSON.parse((await command(client, ['manifest', 'inspect', '--insecure', list(of)], folder)).stdout);
    const [ours, theirs] = [await shown('tare', 'tare'), await shown('docker', 'docker')];
    expect(ours).toEqual(theirs);
    expect(await shown('docker', 'tare')).toEqual(ours);
    expect(await shown('tare', 'docker')).toEqual(theirs);
  });

  test('moves contexts and images between machines', async () => {
    const here = await place();
    await cp(join(here, 'file'), join(here, 'copy'));
    const saved = await command('tare', ['save', '-o', 'image.tar', lab.busybox], here);
    expect(saved).toMatchObject({ code: 0 });
    const loaded = await command('tare', ['load', '-i', 'image.tar'], here);
    expect(loaded.stdout).toBe(`Loaded image: ${lab.busybox}\n`);
  });
});

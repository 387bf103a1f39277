/** Building from git repositories: `git daemon` on loopback, the stock CLI's classic builder and the buildx plugin. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { COMPONENTS, componentPath } from '../../../../test/lab/debian.ts';
import { run, startServer, type Finished, type Server } from '../../../../test/lab/process.ts';
import { missingForEndToEnd, startLab, type Lab } from './lab.ts';

const buildx = componentPath(COMPONENTS.buildx);
const missing =
  missingForEndToEnd() ??
  (buildx === undefined ? 'needs docker-buildx' : undefined) ??
  (existsSync('/usr/bin/git') ? undefined : 'needs git');

describe.skipIf(missing !== undefined)(`build from git${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let lab: Lab;
  let folder: string;
  let server: Server;
  let repository: string;
  let address: string;
  /** Commits, oldest first. */
  const commits: string[] = [];

  beforeAll(async () => {
    lab = await startLab();
    folder = await mkdtemp(join(tmpdir(), 'git-'));
    await mkdir(join(folder, 'config/cli-plugins'), { recursive: true });
    await symlink(buildx!, join(folder, 'config/cli-plugins/docker-buildx'));
    repository = join(folder, 'served/project');
    await mkdir(join(repository, 'sub'), { recursive: true });
    git('init', '-q', '-b', 'main');
    await commit({ Dockerfile: `FROM ${lab.busybox}\nCOPY . /all\n`, version: 'one' });
    git('tag', '-a', '-m', 'first', 'v1');
    await symlink('/etc', join(repository, 'outside'));
    await commit({
      version: 'two',
      'sub/Dockerfile': `FROM ${lab.busybox}\nCOPY . /all\n`,
      'sub/inner': 'inner',
    });
    await commit({ version: 'three' });
    git('checkout', '-q', '-b', 'other');
    await commit({ version: 'branch' });
    git('checkout', '-q', 'main');
    const port = await freePort();
    address = `git://127.0.0.1:${port}/project`;
    server = await startServer(
      'git',
      [
        'daemon',
        '--listen=127.0.0.1',
        `--port=${port}`,
        '--export-all',
        `--base-path=${join(folder, 'served')}`,
        join(folder, 'served'),
      ],
      { ready: () => run('git', ['ls-remote', address]).then(({ code }) => code === 0) },
    );
  });
  afterAll(async () => {
    await server?.stop('SIGTERM');
    await lab?.[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });
  afterEach(async () => {
    expect(await readdir(join(lab.dataRoot, 'builder/contexts'))).toEqual([]);
    expect(await lab.ok(['ps', '-aq'])).toBe('');
  });

  function git(...args: string[]): string {
    return execFileSync('git', ['-c', 'user.name=t', '-c', 'user.email=t@t', ...args], {
      cwd: repository,
      encoding: 'utf8',
    }).trim();
  }
  async function commit(files: Record<string, string>): Promise<void> {
    for (const [name, content] of Object.entries(files)) await writeFile(join(repository, name), content);
    git('add', '-A');
    git('commit', '-q', '-m', 'change');
    commits.push(git('rev-parse', 'HEAD'));
  }
  const viaBuildx = (...args: string[]): Promise<Finished> =>
    run(
      componentPath(COMPONENTS.docker)!,
      ['buildx', 'build', '--progress', 'plain', '-t', 'built', ...args],
      {
        env: {
          PATH: process.env.PATH,
          HOME: folder,
          DOCKER_CONFIG: join(folder, 'config'),
          DOCKER_HOST: lab.host,
        },
        timeoutMs: 60_000,
      },
    );
  /** What the daemon is told by a client that leaves the repository to it, as docker-py does. */
  const viaClassic = async (remote: string): Promise<string> => {
    const reply = await lab.api('POST', `/build?t=built&remote=${encodeURIComponent(remote)}`);
    return reply.body.toString();
  };
  const shown = (...argv: string[]): Promise<string> => lab.ok(['run', '--rm', 'built', ...argv]);

  test.each([
    ['the branch that the remote has chosen', '', 'three'],
    ['a branch', '#other', 'branch'],
    ['a tag with a message', '#v1', 'one'],
    ['a branch by its whole name', '#refs/heads/other', 'branch'],
  ])('%s', async (_, fragment, version) => {
    expect((await viaBuildx(`${address}${fragment}`)).stderr).not.toContain('ERROR');
    expect(await shown('cat', '/all/version')).toBe(version);
    expect(await viaClassic(`${address}${fragment}`)).toContain('Successfully tagged built:latest');
    expect(await shown('cat', '/all/version')).toBe(version);
    expect(await shown('ls', '-A', '/all')).not.toContain('.git');
  });

  test('a commit that no branch ends in, also abbreviated', async () => {
    for (const name of [commits[1]!, commits[1]!.slice(0, 10)]) {
      expect((await viaBuildx(`${address}#${name}`)).stderr).not.toContain('ERROR');
      expect(await shown('cat', '/all/version')).toBe('two');
    }
  });

  test('a directory of it', async () => {
    expect((await viaBuildx(`${address}#main:sub`)).stderr).not.toContain('ERROR');
    expect(await shown('ls', '/all')).toBe('Dockerfile\ninner');
  });

  test('what is not there is told in words', async () => {
    const noBranch = await viaBuildx(`${address}#nowhere`);
    expect(noBranch.code).toBe(1);
    expect(noBranch.stderr).toContain("couldn't find remote ref nowhere");
    expect((await viaBuildx(`${address}#main:nowhere`)).stderr).toContain(
      'the repository has no directory nowhere',
    );
    // a link to the host's files is no directory of the repository
    expect((await viaBuildx(`${address}#main:outside`)).stderr).toContain('has no directory outside');
    expect((await viaBuildx(`${address}#main:../..`)).stderr).not.toContain('/etc');
    expect(await viaClassic(`${address}#nowhere`)).toContain("couldn't find remote ref nowhere");
  });

  test('ADD of a repository, with and without its .git, and of one commit alone', async () => {
    const directory = join(folder, 'adding');
    await mkdir(directory, { recursive: true });
    const add = async (flags: string): Promise<Finished> => {
      await writeFile(
        join(directory, 'Dockerfile'),
        `FROM ${lab.busybox}\nADD ${flags} ${address}#other /p\n`,
      );
      return viaBuildx(directory);
    };
    expect((await add('')).stderr).not.toContain('ERROR');
    expect(await shown('cat', '/p/version')).toBe('branch');
    expect(await shown('sh', '-c', 'test ! -e /p/.git && echo without')).toBe('without');
    expect((await add('--keep-git-dir')).stderr).not.toContain('ERROR');
    expect(await shown('cat', '/p/.git/HEAD')).toBe(commits.at(-1));
    expect((await add(`--checksum=${commits.at(-1)}`)).stderr).not.toContain('ERROR');
    const other = createHash('sha1').update('another').digest('hex');
    expect((await add(`--checksum=${other}`)).stderr).toContain(
      `is at the commit ${commits.at(-1)}, not ${other}`,
    );
  });

  test('a repository as a named context', async () => {
    const directory = join(folder, 'named');
    await mkdir(directory, { recursive: true });
    await writeFile(join(directory, 'Dockerfile'), `FROM ${lab.busybox}\nCOPY --from=project version /v\n`);
    const result = await viaBuildx('--build-context', `project=${address}#v1`, directory);
    expect(result.stderr).not.toContain('ERROR');
    expect(await shown('cat', '/v')).toBe('one');
  });

  test('what a repository brings is not run', async () => {
    // submodules may not name the host's files
    const other = join(folder, 'other');
    execFileSync('git', ['init', '-q', other]);
    git('checkout', '-q', '-b', 'sub');
    await writeFile(join(repository, '.gitmodules'), `[submodule "x"]\n\tpath = x\n\turl = ${other}\n`);
    git('add', '.gitmodules');
    git('update-index', '--add', '--cacheinfo', `160000,${commits[0]},x`);
    git('commit', '-q', '-m', 'submodule');
    git('checkout', '-q', '-f', 'main');
    const result = await viaBuildx(`${address}#sub`);
    expect(result.code).toBe(1);
    expect(result.stderr).toContain("transport 'file' not allowed");
  });
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

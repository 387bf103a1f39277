/** Programs that bring commands of their own: docker's plugin protocol, spoken to plugins of the test. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { run } from '../../../../test/lab/process.ts';
import { tare } from './drive.ts';

const start = join(import.meta.dirname, '..', '..', 'src', 'cli', 'start.ts');
let home: string;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'plugins-'));
  await mkdir(join(home, '.docker', 'cli-plugins'), { recursive: true });
});
afterEach(() => rm(home, { recursive: true, force: true }));

async function plugin(
  name: string,
  script: string,
  folder = join(home, '.docker', 'cli-plugins'),
): Promise<void> {
  await mkdir(folder, { recursive: true });
  const path = join(folder, `docker-${name}`);
  await writeFile(path, `#!/bin/sh\n${script}`);
  await chmod(path, 0o755);
}

const metadata = (summary: string): string =>
  `if [ "$1" = docker-cli-plugin-metadata ]; then
  echo '{"SchemaVersion":"0.1.0","Vendor":"Test","Version":"v1","ShortDescription":"${summary}"}'; exit; fi\n`;

/** As a process: a plugin has our streams. */
function command(args: readonly string[], env: Record<string, string> = {}) {
  return run(process.execPath, ['--conditions=@tare/source', start, ...args], {
    env: { PATH: process.env.PATH, HOME: home, ...env },
    input: 'from stdin',
  });
}

describe('a plugin', () => {
  it('is run with the arguments after its name, our streams, and the daemon that we would use', async () => {
    await plugin('hello', `${metadata('Says hello')}echo "$@"; echo "$DOCKER_HOST"; cat; exit 7`);
    const { stdout, code } = await command(['-D', '-H', 'unix:///some.sock', 'hello', 'a b', '--flag', '-x']);
    expect(stdout).toBe('--debug hello a b --flag -x\nunix:///some.sock\nfrom stdin');
    expect(code).toBe(7);
    expect((await command(['hello'])).stdout).toContain('\nunix:///run/tare.sock\n');
    expect((await command(['hello'], { DOCKER_HOST: 'tcp://1.2.3.4:5' })).stdout).toContain(
      '\ntcp://1.2.3.4:5\n',
    );
  });

  for (const name of ['compose', 'buildx']) {
    const installed = ['local/lib', 'local/libexec', 'lib', 'libexec'].some((folder) =>
      existsSync(`/usr/${folder}/docker/cli-plugins/docker-${name}`),
    );
    const reason = installed ? ' (skipped: this machine has it)' : '';
    it.skipIf(installed)(
      `${name}, which is not installed, is told from a mistyped command${reason}`,
      async () => {
        const folder = join(home, 'empty');
        const { stderr, code } = await tare(undefined, [name, 'ls'], { env: { DOCKER_CONFIG: folder } });
        expect(stderr).toBe(
          `tare: '${name}' is a plugin of the docker command line, and not installed: install Docker's package ` +
            `docker-${name}-plugin, or put the program docker-${name} into ${folder}/cli-plugins\n`,
        );
        expect(code).toBe(1);
      },
    );
  }

  it('is told of a chosen context, whose keys it reads itself', async () => {
    await plugin('hello', 'echo "$@"; echo "host=$DOCKER_HOST"');
    await tare(undefined, ['context', 'create', 'mine', '--docker', 'host=tcp://1.2.3.4:5'], {
      env: { HOME: home },
    });
    expect((await command(['-c', 'mine', 'hello'])).stdout).toBe('--context mine hello\nhost=\n');
  });

  it('is listed in the help, when it is one', async () => {
    await plugin('hello', metadata('Says hello'));
    await plugin('broken', 'echo no metadata');
    await plugin('ps', metadata('Would like to be ps'));
    await plugin('far', metadata('From a folder of the configuration'), join(home, 'far'));
    await writeFile(
      join(home, '.docker', 'config.json'),
      JSON.stringify({ cliPluginsExtraDirs: [join(home, 'far')] }),
    );
    const { stdout } = await tare(undefined, ['--help'], { env: { HOME: home } });
    expect(stdout).toMatch(/^ {2}hello\* +Says hello$/m);
    expect(stdout).toMatch(/^ {2}far\* +From a folder of the configuration$/m);
    expect(stdout).not.toContain('broken');
    expect(stdout).not.toContain('Would like to be ps');
  });

  it('builds when the configuration says that it is the builder', async () => {
    await plugin('buildx', 'echo "$@"');
    await writeFile(join(home, '.docker', 'config.json'), JSON.stringify({ aliases: { builder: 'buildx' } }));
    expect((await command(['build', '.'])).stdout).toBe('buildx build .\n');
    expect((await command(['builder', 'prune'])).stdout).toBe('buildx prune\n');
  });

  it('is handed the signals that end us, and its end is ours', async () => {
    await plugin('linger', `trap 'echo ended; exit 3' TERM; echo ready; while :; do sleep 0.05; done`);
    const child = spawn(process.execPath, ['--conditions=@tare/source', start, 'linger'], {
      env: { PATH: process.env.PATH, HOME: home },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let said = '';
    child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()));
    await once(child.stdout, 'data');
    child.kill('SIGTERM');
    expect(await once(child, 'close')).toEqual([3, null]);
    expect(said).toBe('ready\nended\n');
  });
});

describe('a command that nobody has', () => {
  it.each([
    ['rnu', 'run'],
    ['imges', 'images'],
    ['contaner', 'container'],
    ['volume craete', 'volume create'],
  ])('%s is answered with what was probably meant', async (typed, meant) => {
    const { code, stderr } = await tare(undefined, typed.split(' '), { env: { HOME: home } });
    expect(code).toBe(1);
    expect(stderr).toContain(`Did you mean 'tare ${meant}'?`);
  });

  it('is not taken for another that is nothing like it', async () => {
    const { stderr } = await tare(undefined, ['frobnicate'], { env: { HOME: home } });
    expect(stderr).toBe("tare: unknown command: tare frobnicate\n\nRun 'tare --help' for more information\n");
  });
});

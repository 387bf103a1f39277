/** `tare build` as BuildKit's client: all of its flags, and how it shows what happens. */
import { spawn } from 'node:child_process';
import { mkdir, readdir, readFile, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { once } from 'node:events';
import { createServer as createSocketServer } from 'node:net';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { run, type Finished } from '../../../../test/lab/process.ts';
import { missingForBuildx, startBuildLab, type BuildLab, type Files } from './build-lab.ts';
import { missingForEndToEnd, type Lab } from './lab.ts';

const missing = missingForEndToEnd();

describe.skipIf(missing !== undefined)(`tare build${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let here: BuildLab;
  let lab: Lab;
  beforeAll(async () => {
    here = await startBuildLab();
    ({ lab } = here);
  });
  afterAll(() => here?.[Symbol.asyncDispose]());
  afterEach(() => here.expectNothingLeft());

  const build = async (files: Files, ...args: string[]) =>
    lab.tare(['build', ...args, await here.context(files)], { timeoutMs: 60_000 });
  async function built(files: Files, ...args: string[]): Promise<string> {
    const result = await build(files, '-t', 'built', ...args);
    if (result.code !== 0) throw new Error(`${result.stdout}\n${result.stderr}\n${lab.daemon.output()}`);
    return result.stderr;
  }

  test('steps are told in lines: numbers, what commands say, times', async () => {
    const files = { Dockerfile: 'FROM busybox\nRUN echo said && echo more >&2\nCOPY a /a\n', a: 'x' };
    const shown = await built(files);
    expect(shown).toMatch(/^#1 \[internal\] load build definition from Dockerfile\n/);
    expect(shown).toMatch(/#\d+ \[2\/3\] RUN echo said && echo more >&2\n/);
    expect(shown).toMatch(/#\d+ \d+\.\d{3} said\n/);
    expect(shown).toMatch(/#\d+ DONE \d+\.\ds\n/);
    expect((await built(files)).match(/#\d+ CACHED\n/g)).toHaveLength(2);
    expect(await built(files, '--no-cache')).not.toContain('CACHED');
    const quiet = await build(files, '-q', '-t', 'built');
    expect(quiet).toMatchObject({
      code: 0,
      stderr: '',
      stdout: expect.stringMatching(/^sha256:[0-9a-f]{64}\n$/),
    });
    const json = await build(files, '--progress', 'rawjson');
    for (const line of json.stderr.trim().split('\n'))
      expect(() => JSON.parse(line) as unknown).not.toThrow();
  });

  describe('with nothing changed', () => {
    /** What only the ordinary way tells: it takes the Dockerfile from its client. */
    const ORDINARY = 'load build definition';
    let directory: string;
    beforeEach(async () => {
      directory = await here.context({
        Dockerfile:
          'FROM busybox\nARG v=1\nCOPY . /ctx\nRUN cat /ctx/a > /seen; cat /proc/sys/kernel/random/uuid > /made',
        '.dockerignore': '*.log',
        a: 'first',
        'b.log': 'x',
      });
      // what was written just now may be written to again with the same times
      const old = new Date(Date.now() - 60_000);
      for (const name of await readdir(directory)) await utimes(join(directory, name), old, old);
    });
    const again = async (...args: string[]): Promise<string> => {
      const { code, stderr } = await lab.tare(['build', '-t', 'built', ...args, directory]);
      expect(code, stderr).toBe(0);
      return stderr;
    };
    const idOf = (name: string): Promise<string> => lab.ok(['image', 'inspect', '-f', '{{.Id}}', name]);

    test('one request is enough, whatever the image is to be called', async () => {
      expect(await again()).toContain(ORDINARY);
      const id = await idOf('built');
      const shown = await again();
      expect(shown).not.toContain(ORDINARY);
      expect(shown.match(/^#\d+ CACHED$/gm)).toHaveLength(2);
      expect(shown).toMatch(/^#1 \[1\/3\] FROM .*\n#1 DONE 0\.\ds\n\n#2 /);
      await lab.ok(['rmi', '-f', id]);
      const iidfile = join(here.folder, 'iid');
      expect(await again('-t', 'other:v2', '--iidfile', iidfile)).not.toContain(ORDINARY);
      expect([await idOf('built'), await idOf('other:v2'), await readFile(iidfile, 'utf8')]).toEqual([
        id,
        id,
        id,
      ]);
      const quiet = await lab.tare(['build', '-q', directory]);
      expect(quiet).toMatchObject({ code: 0, stdout: `${id}\n`, stderr: '' });
      await writeFile(join(directory, 'b.log'), 'ignored');
      expect(await again()).not.toContain(ORDINARY);
      const mistyped = await again('--build-arg', 'w=1');
      expect(mistyped).not.toContain(ORDINARY);
      expect(mistyped).toContain('WARN: one or more build-args [w] were not consumed');
      await lab.ok(['rmi', '-f', 'other:v2']);
    });

    test('whatever has to be done is done', async () => {
      await again();
      await writeFile(join(directory, 'a'), 'later');
      expect(await again()).toContain(ORDINARY);
      expect(await here.inImage('cat', '/seen')).toBe('later');
      const made = new Set([await here.inImage('cat', '/made')]);
      for (const args of [['--build-arg', 'v=2'], ['--no-cache']]) {
        expect(await again(...args), args.join(' ')).toContain(ORDINARY);
        made.add(await here.inImage('cat', '/made'));
      }
      expect(made.size).toBe(3);
      for (const args of [['--pull'], ['--secret', 'id=s,env=HOME'], ['--output', 'type=image,name=built']])
        expect(await again(...args), args.join(' ')).toContain(ORDINARY);
      await again();
      await lab.ok(['builder', 'prune', '-af']);
      expect(await again()).toContain(ORDINARY);
    });

    test('what is wrong with it is told as ever', async () => {
      await writeFile(join(directory, 'Dockerfile'), `FROM ${lab.busybox}\nCOPIED a /a\n`);
      const wrong = await lab.tare(['build', directory]);
      expect(wrong.code).toBe(1);
      expect(wrong.stderr).toContain('unknown instruction: COPIED');
      await rm(join(directory, 'Dockerfile'));
      expect((await lab.tare(['build', directory])).stderr).toContain('failed to read dockerfile');
      await writeFile(join(directory, 'Dockerfile'), `FROM ${lab.busybox}\nRUN false\n`);
      for (let i = 0; i < 2; i++) {
        const failed = await lab.tare(['build', directory]);
        expect(failed.code).toBe(1);
        expect(failed.stderr).toContain('exit code: 1');
      }
    });
  });

  test('on a terminal the steps are drawn again until they are done', async () => {
    const directory = await here.context({ Dockerfile: 'FROM busybox\nRUN echo drawn; sleep 0.4\n' });
    const script = `stty cols 60 rows 20; ${process.execPath} ${lab.tareCommand.join(' ')} build --no-cache --progress tty ${directory}`;
    const { stdout } = await run('script', ['-qefc', script, '/dev/null'], {
      env: { ...process.env, DOCKER_HOST: lab.host },
      timeoutMs: 60_000,
    });
    expect(stdout).toMatch(/\[\+\] Building \d+\.\ds \(\d\/\d\)/);
    expect(stdout).toContain('=> => # drawn');
    expect(stdout).toMatch(/\(\d\/\d\) FINISHED/);
    for (const line of stripVTControlCharacters(stdout).split(/\r?\n/)) {
      expect(line.replaceAll('\r', '').length).toBeLessThanOrEqual(60);
    }
  });

  test('contexts: ignored files, links, Dockerfiles elsewhere, from standard input, and archives', async () => {
    const directory = await here.context({
      'sub/Dockerfile.own': 'FROM busybox\nARG v\nCOPY . /ctx\nRUN echo $v > /v',
      'sub/Dockerfile.own.dockerignore': '*.log\n!kept.log\nsub',
      'a.log': '',
      'kept.log': '',
      'deep/b.log': 'only at the top',
      text: 'text',
    });
    await symlink('text', join(directory, 'link'));
    const iidfile = join(here.folder, 'iid');
    const flags = ['-f', join(directory, 'sub/Dockerfile.own'), '--build-arg', 'v=1', '--iidfile', iidfile];
    const result = await lab.tare(['build', '-t', 'built', ...flags, directory]);
    expect(result.code, result.stderr).toBe(0);
    expect(await here.inImage('sh', '-c', 'cat /v; cd /ctx; find . | sort; readlink link')).toBe(
      '1\n.\n./deep\n./deep/b.log\n./kept.log\n./link\n./text\ntext',
    );
    expect(await readFile(iidfile, 'utf8')).toBe(
      await lab.ok(['image', 'inspect', '-f', '{{.Id}}', 'built']),
    );

    const input = `FROM ${lab.busybox}\nCOPY text /t\n`;
    expect((await lab.tare(['build', '-t', 'built', '-f', '-', directory], { input })).code).toBe(0);
    expect(await here.inImage('cat', '/t')).toBe('text');
    const alone = await lab.tare(['build', '-q', '-'], { input: `FROM ${lab.busybox}\nCMD ["x"]` });
    expect(alone.stdout).toMatch(/^sha256:/);
    const archive = join(here.folder, 'context.tar');
    await writeFile(join(directory, 'Dockerfile'), input);
    await run('tar', ['-C', directory, '-cf', archive, '.'], {});
    const piped = await run(
      'sh',
      ['-c', `${process.execPath} ${lab.tareCommand.join(' ')} build -t built - < ${archive}`],
      {
        env: { ...process.env, DOCKER_HOST: lab.host },
      },
    );
    expect(piped.code, piped.stderr).toBe(0);
    const nowhere = await lab.tare(['build', '/nosuch']);
    expect(nowhere.stderr).toContain('unable to prepare context: path "/nosuch" not found');
  });

  test.skipIf(missingForBuildx() !== undefined)(
    'what has not changed is not sent again, and what is gone is gone',
    async () => {
      const large = 'x'.repeat(3_000_000);
      const directory = await here.context({
        Dockerfile: 'FROM busybox\nCOPY . /ctx\n',
        'd/large': large,
        gone: '',
        f: 'old',
      });
      const before = new Date(Date.now() - 60_000);
      for (const name of ['Dockerfile', 'd/large', 'gone', 'f']) {
        await utimes(join(directory, name), before, before);
      }
      const sent = async (work: () => Promise<Finished>): Promise<string> => {
        const { code, stderr } = await work();
        if (code !== 0) throw new Error(stderr);
        return /transferring context: (\S+) /.exec(stderr)?.[1] ?? stderr;
      };
      const clients = [
        () => lab.tare(['build', '--progress', 'plain', '-t', 'built', directory]),
        () => here.buildx(['build', '--progress', 'plain', '-t', 'built', directory]),
      ];
      for (const [i, build] of clients.entries()) {
        await writeFile(join(directory, 'gone'), '');
        expect(await sent(build)).toMatch(/^3\S*MB$/);
        await writeFile(join(directory, 'f'), `new ${i}`);
        await rm(join(directory, 'gone'));
        expect(await sent(build)).toMatch(/^\d+B$/);
        expect(await here.inImage('sh', '-c', 'cat /ctx/f; ls /ctx; wc -c < /ctx/d/large')).toBe(
          `new ${i}Dockerfile\nd\nf\n${large.length}`,
        );
      }
      // nothing of it stays when the cache is asked to go
      await lab.ok(['builder', 'prune', '-af']);
      expect(await sent(clients[0]!)).toMatch(/^3\S*MB$/);
    },
  );

  test('secrets of files and variables, and an agent, for one command', async () => {
    const secret = join(here.folder, 'secret');
    await writeFile(secret, 'hidden-in-a-file');
    const Dockerfile = `FROM busybox
RUN --mount=type=secret,id=one,required cat /run/secrets/one | md5sum > /one
RUN --mount=type=secret,id=two,env=TWO echo $TWO | md5sum > /two
RUN --mount=type=ssh test -S $SSH_AUTH_SOCK && echo $SSH_AUTH_SOCK > /agent
`;
    const agent = createSocketServer((socket) => socket.end());
    const path = join(here.folder, 'agent');
    agent.listen(path);
    await once(agent, 'listening');
    try {
      const directory = await here.context({ Dockerfile });
      const flags = [
        '--secret',
        `id=one,src=${secret}`,
        '--secret',
        'id=two,env=MINE',
        '--ssh',
        `default=${path}`,
      ];
      const result = await run(
        process.execPath,
        [...lab.tareCommand, 'build', '-t', 'built', ...flags, directory],
        { env: { ...process.env, DOCKER_HOST: lab.host, MINE: 'hidden-in-a-variable' } },
      );
      expect(result.code, result.stderr).toBe(0);
      expect(await here.inImage('cat', '/agent')).toBe('/run/buildkit/ssh_agent.0');
    } finally {
      agent.close();
    }
    const left = await run('grep', ['-rlaE', 'hidden-in-a-(file|variable)', lab.dataRoot], {});
    expect(left.stdout).toBe('');
    const without = await build({ Dockerfile: 'FROM busybox\nRUN --mount=type=secret,id=x,required true\n' });
    expect(without.stderr).toContain('secret x: not found');
  });

  test('outputs: a folder, archives, a registry', async () => {
    const files = { Dockerfile: 'FROM scratch\nCOPY d /d\n', 'd/one': '1', 'd/two': '2' };
    const out = join(here.folder, 'out');
    await mkdir(join(out, 'd'), { recursive: true });
    await writeFile(join(out, 'd/old'), 'stays');
    expect((await build(files, '-o', out)).code).toBe(0);
    expect((await readdir(join(out, 'd'))).sort()).toEqual(['old', 'one', 'two']);
    for (const type of ['tar', 'oci', 'docker']) {
      const archive = join(here.folder, `${type}.tar`);
      expect((await build(files, '-t', 'named', '-o', `type=${type},dest=${archive}`)).code).toBe(0);
      const { stdout } = await run('tar', ['-tf', archive], {});
      expect(stdout).toContain(type === 'tar' ? 'd/one' : 'index.json');
    }
    const piped = await build(files, '-o', '-');
    expect(piped.stdout.slice(0, 1024)).toContain('ustar');
    const name = `${lab.registry}tare-built:1`;
    expect((await build({ Dockerfile: 'FROM busybox\nRUN echo p > /p\n' }, '-t', name, '--push')).code).toBe(
      0,
    );
    await lab.ok(['rmi', '-f', name]);
    expect(await lab.ok(['run', '--rm', name, 'cat', '/p'])).toBe('p');
  });

  test('caches: of a registry, and of a directory', async () => {
    const files = { Dockerfile: 'FROM busybox AS a\nRUN echo a > /a\nFROM busybox\nCOPY --from=a /a /\n' };
    const directory = join(here.folder, 'cache');
    const caches = [
      `type=local,mode=max,dest=${directory}`,
      `type=registry,mode=max,ref=${lab.registry}tare-cache`,
    ];
    await built(files, ...caches.flatMap((cache) => ['--cache-to', cache]));
    for (const cache of [`type=local,src=${directory}`, `${lab.registry}tare-cache`]) {
      await lab.docker(['rmi', '-f', 'built']);
      await lab.ok(['builder', 'prune', '-af']);
      expect((await built(files, '--cache-from', cache)).match(/CACHED/g)).toHaveLength(2);
    }
    const none = await build(files, '--cache-from', 'type=local,src=/nosuch');
    expect(none.stderr).toContain('there is no cache in /nosuch');
  });

  test('named contexts, entitlements, targets, hosts, labels, questions', async () => {
    const other = await here.context({ file: 'from elsewhere' });
    await built(
      {
        Dockerfile:
          'FROM busybox AS one\nCOPY --from=other file /f\nRUN grep me /etc/hosts > /h\nFROM one AS two\nRUN false\n',
      },
      '--build-context',
      `other=${other}`,
      '--target',
      'one',
      '--add-host',
      'me:1.2.3.4',
      '--label',
      'l=2',
    );
    expect(await here.inImage('cat', '/f', '/h')).toMatch(/^from elsewhere1\.2\.3\.4\s+me/);
    expect(await lab.ok(['image', 'inspect', '-f', '{{.Config.Labels.l}}', 'built'])).toBe('2');
    const host = { Dockerfile: 'FROM busybox\nRUN --network=host ls /sys/class/net > /n\n' };
    expect((await build(host)).stderr).toContain('give the build --allow network.host');
    await built(host, '--allow', 'network.host');
    const insecure = {
      Dockerfile: 'FROM busybox\nRUN --security=insecure grep CapEff /proc/self/status > /c\n',
    };
    expect((await build(insecure)).stderr).toContain('give the build --allow security.insecure');
    await built(insecure, '--allow', 'security.insecure');
    expect(await here.inImage('cat', '/c')).not.toContain('00000000a80425fb');
    const asked = await build(
      { Dockerfile: 'FROM busybox AS first\nARG what=x\nFROM first AS second\n' },
      '--call',
      'targets',
    );
    expect(asked.stdout).toContain('first');
  });

  test('what is wrong is told with its lines, and ends the build', async () => {
    const wrong = await build({ Dockerfile: 'FROM busybox\nCOPPY a b\n' });
    expect(wrong.code).toBe(1);
    expect(wrong.stderr).toContain('unknown instruction: COPPY (did you mean COPY?)');
    const failed = await build({ Dockerfile: 'FROM busybox\n\nRUN echo before && exit 7\n' });
    expect(failed.code).toBe(1);
    expect(failed.stderr).toContain('   3 | >>> RUN echo before && exit 7');
    expect(failed.stderr).toContain('did not complete successfully: exit code: 7');
  });

  test('an interrupted build is gone at the daemon, too', async () => {
    const directory = await here.context({ Dockerfile: 'FROM busybox\nRUN echo begun && sleep 60\n' });
    const child = spawn(process.execPath, [...lab.tareCommand, 'build', '--no-cache', directory], {
      env: { ...process.env, DOCKER_HOST: lab.host },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let shown = '';
    for await (const data of child.stderr) {
      shown += String(data);
      if (/\d begun/.test(shown)) break;
    }
    child.kill('SIGINT');
    await vi.waitFor(async () => expect(await lab.ok(['ps', '-aq'])).toBe(''), { timeout: 10_000 });
    await vi.waitFor(async () => expect(await readdir(join(lab.dataRoot, 'builder/contexts'))).toEqual([]));
  });
});

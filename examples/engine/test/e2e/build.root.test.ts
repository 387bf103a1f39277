/** Building with the stock CLI's classic builder. */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { TarBuilder } from '@tare/layer-store/testing';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { eventually, type Finished } from '../../../../test/lab/process.ts';
import { missingForEndToEnd, startLab, type Lab } from './lab.ts';

/** The part of an inspected image that is looked at. */
interface Inspected {
  Id: string;
  Config: { Env: string[]; OnBuild?: string[] | null };
}

const missing = missingForEndToEnd();

describe.skipIf(missing !== undefined)(`build${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let lab: Lab;
  let folder: string;
  beforeAll(async () => {
    lab = await startLab();
    folder = await mkdtemp(join(tmpdir(), 'build-'));
  });
  afterAll(async () => {
    await lab?.[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });
  afterEach(async () => {
    // contexts, mounts and containers of builds end with them
    expect(await readdir(join(lab.dataRoot, 'builder/contexts'))).toEqual([]);
    expect(await readdir(join(lab.dataRoot, 'builder/mounts'))).toEqual([]);
    expect(await lab.ok(['ps', '-aq'])).toBe('');
  });

  /** Writes a context with `files`; the Dockerfile's `busybox` is the lab's. */
  let contexts = 0;
  async function context(files: Record<string, string>): Promise<string> {
    contexts += 1;
    const directory = join(folder, String(contexts));
    for (const [name, content] of Object.entries(files)) {
      await mkdir(dirname(join(directory, name)), { recursive: true });
      await writeFile(
        join(directory, name),
        content.replaceAll(/FROM (\S*\s)?busybox/g, `FROM $1${lab.busybox}`),
      );
    }
    return directory;
  }
  async function build(files: Record<string, string>, ...args: string[]): Promise<Finished> {
    return lab.docker(['build', ...args, await context(files)]);
  }
  async function built(files: Record<string, string>, ...args: string[]): Promise<string> {
    const result = await build(files, '-t', 'built', ...args);
    if (result.code !== 0) throw new Error(`${result.stdout}\n${result.stderr}\n${lab.daemon.output()}`);
    return result.stdout;
  }
  const run = (...args: string[]): Promise<string> => lab.ok(['run', '--rm', 'built', ...args]);
  const inspect = async (name = 'built'): Promise<Inspected> => {
    const [image] = JSON.parse(await lab.ok(['image', 'inspect', name])) as Inspected[];
    return image!;
  };

  test('files, commands and settings become an image, told step by step', async () => {
    const output = await built({
      Dockerfile: [
        'FROM busybox',
        'ARG greeting=hello',
        'ENV NAME="the world" OTHER=$greeting',
        'WORKDIR /app/sub',
        'COPY a.txt dir/ ./',
        'RUN echo "$greeting $NAME" > out && chown worker out',
        'USER worker',
        'EXPOSE 80',
        'LABEL made=here',
        'VOLUME /data',
        'ENTRYPOINT ["cat"]',
        'CMD ["out"]',
      ].join('\n'),
      'a.txt': 'a',
      'dir/b.txt': 'b',
      'dir/deep/c.txt': 'c',
    });
    expect(output).toMatch(/^Sending build context to Docker daemon/);
    expect(output).toMatch(
      /\nStep 1\/12 : FROM \S+busybox:latest\n ---> [0-9a-f]{12}\nStep 2\/12 : ARG greeting=hello\n/,
    );
    expect(output).toMatch(/\nStep 6\/12 : RUN [^\n]+\n ---> Running in [0-9a-f]{12}\n ---> [0-9a-f]{12}\n/);
    expect(output).toMatch(/\nSuccessfully built [0-9a-f]{12}\nSuccessfully tagged built:latest\n$/);
    expect(await run()).toBe('hello the world');
    expect(
      await lab.ok([
        'run',
        '--rm',
        '--entrypoint',
        'sh',
        'built',
        '-c',
        'pwd; id -un; ls -R; stat -c %U out a.txt',
      ]),
    ).toBe('/app/sub\nworker\n.:\na.txt\nb.txt\ndeep\nout\n\n./deep:\nc.txt\nworker\nroot');
    expect(await inspect()).toMatchObject({
      Config: {
        Env: ['PATH=/usr/sbin:/usr/bin:/sbin:/bin', 'NAME=the world', 'OTHER=hello'],
        WorkingDir: '/app/sub',
        User: 'worker',
        ExposedPorts: { '80/tcp': {} },
        Labels: { made: 'here' },
        Volumes: { '/data': {} },
        Entrypoint: ['cat'],
        Cmd: ['out'],
      },
    });
    const history = await lab.ok(['history', '--format', '{{.CreatedBy}}', '--no-trunc', 'built']);
    expect(history.split('\n').slice(0, 3)).toEqual(['CMD ["out"]', 'ENTRYPOINT ["cat"]', 'VOLUME /data']);
    // the layers that steps made for themselves alone leave no images
    expect(await lab.ok(['images', '-qf', 'dangling=true'])).toBe('');
  });

  test('what did not change comes from the cache, by content and not by time', async () => {
    const files = {
      Dockerfile: 'FROM busybox\nCOPY f /f\nRUN cat /proc/sys/kernel/random/uuid > /when\nRUN cat /f',
      f: 'one',
    };
    await built(files);
    const first = await run('cat', '/when');
    const again = await built(files);
    expect(again.match(/ ---> Using cache\n/g)).toHaveLength(3);
    expect(await run('cat', '/when')).toBe(first);
    expect(await built({ ...files, f: 'two' })).not.toContain('Using cache');
    expect(await run('cat', '/when')).not.toBe(first);
    expect(await built(files, '--no-cache')).not.toContain('Using cache');
    await lab.ok(['builder', 'prune', '-af']);
    expect(await built({ ...files, f: 'two' })).not.toContain('Using cache');
  });

  test('stages are built beside each other, those that nobody needs not at all', async () => {
    const output = await built({
      Dockerfile: [
        'ARG tag=latest',
        `FROM ${lab.registry}busybox:$tag AS left`,
        'ARG tag',
        'RUN echo left $tag > /l',
        'FROM busybox AS right',
        'RUN echo right > /r',
        'FROM busybox AS unwanted',
        'RUN exit 1',
        'FROM scratch',
        'COPY --from=left /l /bin/../both/',
        'COPY --from=1 /r /both/',
        `COPY --from=${lab.busybox} /bin /bin`,
      ].join('\n'),
    });
    expect(output).not.toContain('exit 1');
    expect(await run('cat', '/both/l', '/both/r')).toBe('left latest\nright');
    expect(
      await built({ Dockerfile: 'FROM busybox AS one\nENV A=1\nFROM one\nENV B=$A' }, '--target', 'ONE'),
    ).not.toContain('ENV B');
    expect((await inspect()).Config.Env).toContain('A=1');
  });

  test('build arguments, labels and several tags', async () => {
    const flags =
      '--build-arg a=2 --build-arg HTTP_PROXY=http://p --build-arg nope=3 --label l=1 -t also:this';
    const Dockerfile = 'FROM busybox\nARG a=1\nARG b\nRUN echo "$a-$b-$HTTP_PROXY" > /x';
    const output = await built({ Dockerfile }, ...flags.split(' '));
    expect(output).toContain('[Warning] One or more build-args [nope] were not consumed\n');
    expect(await run('cat', '/x')).toBe('2--http://p');
    expect((await inspect('also:this')).Config).toMatchObject({ Labels: { l: '1' } });
    expect((await inspect()).Config.Env.join()).not.toContain('a=2');
  });

  test('copies: wildcards, renames, owners, modes, links, --parents, --exclude and here-documents', async () => {
    const files = {
      Dockerfile: [
        'FROM busybox',
        'RUN mkdir -p /real && ln -s real /linked && echo "app:x:7:8::/:" >> /etc/passwd && echo "grp:x:9:" >> /etc/group',
        'COPY *.txt d/?.md /many/',
        'COPY one.txt /renamed',
        'COPY d /tree',
        'COPY --chown=app:grp --chmod=640 one.txt /owned',
        'COPY one.txt /linked/',
        'COPY --parents d/sub/x d/./sub/x /parents/',
        'COPY --exclude=*.md --exclude=sub d /some',
        'COPY <<one <<"two" /docs/',
        'with $HOME and ${NOPE:-x}',
        'one',
        'as is $HOME',
        'two',
        'COPY ["one.txt", "/with space/"]',
        'RUN <<EOF',
        'echo script > /script',
        'echo $((1+1)) >> /script',
        'EOF',
        'ADD one.txt /added',
      ].join('\n'),
      'one.txt': '1',
      'two.txt': '2',
      'd/a.md': 'a',
      'd/bb.md': 'b',
      'd/sub/x': 'x',
    };
    await built(files);
    const script =
      'ls /many /tree /parents /parents/d /some /docs /real; stat -c "%u:%g %a" /owned; cat /docs/two /script; ls "/with space" /added /renamed';
    const expected =
      '/docs: one two  /many: a.md one.txt two.txt  /parents: d sub  /parents/d: sub  /real: one.txt  /some:  ' +
      '/tree: a.md bb.md sub 7:9 640 as is $HOME script 2 /added /renamed  /with space: one.txt';
    expect((await run('sh', '-c', script)).replaceAll('\n', ' ')).toBe(expected);
  });

  test('what .dockerignore leaves out is not there, exceptions are', async () => {
    await built({
      Dockerfile: 'FROM busybox\nCOPY . /ctx',
      '.dockerignore': '# comment\n*.log\n**/secret\nout\n!out/kept\nDockerfile',
      'a.log': '',
      'b.txt': '',
      'deep/secret': '',
      'deep/open': '',
      'out/gone': '',
      'out/kept': '',
    });
    expect(await run('sh', '-c', 'cd /ctx; find . -type f | sort')).toBe(
      './.dockerignore\n./b.txt\n./deep/open\n./out/kept',
    );
  });

  test('links of a context and of a stage lead nowhere but into it', async () => {
    const directory = await context({ Dockerfile: 'FROM busybox\nCOPY evil /x', real: 'x' });
    await symlink('/etc/passwd', join(directory, 'evil'));
    const result = await lab.docker(['build', directory]);
    expect(result.code).toBe(1);
    expect(result.stderr).toContain('the link leads nowhere');
  });

  test('ADD fetches addresses and unpacks archives, whatever their name', async () => {
    const archive = new TarBuilder().file('in/archive', 'packed', { uid: 5, gid: 6, mode: 0o600 }).build();
    const server = createServer((request, response) => {
      const there = request.url === '/path/file.bin';
      response
        .writeHead(there ? 200 : 404, { 'Last-Modified': 'Sat, 01 Jan 2022 00:00:00 GMT' })
        .end('fetched');
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/path`;
    try {
      const directory = await context({
        Dockerfile: `FROM busybox\nADD packed /un/\nADD ${url}/file.bin /got/\nCOPY packed /as-is`,
      });
      await writeFile(join(directory, 'packed'), execFileSync('gzip', { input: archive }));
      await lab.ok(['build', '-t', 'built', directory]);
      expect(
        await run(
          'sh',
          '-c',
          'cat /un/in/archive; stat -c %u:%g:%a /un/in/archive; stat -c "%a %Y" /got/file.bin; gunzip -c /as-is | tar -t',
        ),
      ).toBe('packed5:6:600\n600 1640995200\nin/archive');
      const absent = await build({ Dockerfile: `FROM busybox\nADD ${url}/none /` });
      expect(absent.stderr).toContain('answered 404');
      const wrong = await build({
        Dockerfile: `FROM busybox\nADD --checksum=sha256:${'0'.repeat(64)} ${url}/file.bin /`,
      });
      expect(wrong.stderr).toContain('has the digest sha256:');
    } finally {
      server.close();
    }
  });

  test('triggers of a base image run, and are not passed on', async () => {
    await built(
      { Dockerfile: 'FROM busybox\nONBUILD COPY f /from-child\nONBUILD RUN cat /from-child > /seen' },
      '-t',
      'trigger',
    );
    const directory = await context({ Dockerfile: 'FROM trigger\nRUN echo own', f: 'child' });
    const output = await lab.ok(['build', '-t', 'built', directory]);
    expect(output).toContain('COPY f /from-child');
    expect(await run('cat', '/seen')).toBe('child');
    expect((await inspect()).Config.OnBuild ?? null).toBeNull();
  });

  test('RUN has mounts for the time it runs: caches stay, the rest leaves no trace', async () => {
    const files = {
      Dockerfile: [
        'FROM busybox AS tools',
        'RUN echo from-stage > /tool',
        'FROM busybox',
        'RUN --mount=type=cache,target=/cache echo x >> /cache/count; wc -l < /cache/count > /n',
        'RUN --mount=type=bind,from=tools,target=/t cat /t/tool > /tool',
        'RUN --mount=type=bind,source=f,target=/f cat /f > /copy && ! echo y > /f',
        'RUN --mount=type=tmpfs,target=/scratch echo z > /scratch/z',
        'RUN --mount=type=secret,id=none true',
      ].join('\n'),
      f: 'bound',
    };
    await built(files);
    await built(files, '--no-cache');
    expect(await run('sh', '-c', 'cat /n /tool /copy; ls -d /cache /t /f /scratch 2>/dev/null; true')).toBe(
      '2\nfrom-stage\nbound',
    );
  });

  test('a command that fails ends the build with its code, and leaves nothing', async () => {
    const result = await build({ Dockerfile: 'FROM busybox\nRUN echo before >&2; exit 42\nRUN echo never' });
    expect(result.code).toBe(42);
    expect(result.stdout).toContain('before');
    expect(result.stderr).toContain(
      "The command '/bin/sh -c echo before >&2; exit 42' returned a non-zero code: 42",
    );
    expect(result.stdout).not.toContain('never');
  });

  test.each([
    [
      'FROM busybox\nCOPPY a b',
      'dockerfile parse error on line 2: unknown instruction: COPPY (did you mean COPY?)',
    ],
    ['RUN echo', 'RUN before FROM'],
    ['# only a comment', 'has no FROM'],
    ['FROM', 'FROM requires either one or three arguments'],
    // those that are well written are not said to be otherwise
    ['FROM busybox\nCOPY nothere /', '\nline 2: COPY failed: file not found in build context'],
    ['FROM busybox\nCOPY a', 'COPY requires at least two arguments'],
    ['FROM busybox\nENV a', 'ENV must have two arguments'],
    ['FROM busybox\nRUN --nope echo', 'unknown flag: --nope'],
    ['FROM busybox\nCOPY --chown=nobodyhere Dockerfile /', 'unable to find user nobodyhere'],
    ['FROM busybox\nWORKDIR ${a', 'line 2'],
    ['FROM $none', 'should not be blank'],
    ['# syntax=some/frontend\nFROM busybox', 'is not built in'],
    ['FROM 127.0.0.1:1/none', '\nline 1: 127.0.0.1:1 answers neither http nor https'],
    ['FROM busybox AS a\nFROM busybox\nCOPY --from=5 /x /', 'no such stage'],
  ])('%j is refused', async (dockerfile, message) => {
    const result = await build({ Dockerfile: dockerfile });
    expect(result.code).not.toBe(0);
    expect(result.stderr).toContain(message);
  });

  test('Dockerfiles by other names, from standard input, and contexts that are broken', async () => {
    const directory = await context({ 'other/File': 'FROM busybox\nCMD ["echo", "named"]' });
    await lab.ok(['build', '-t', 'built', '-f', join(directory, 'other/File'), directory]);
    expect(await run()).toBe('named');
    await lab.ok(['build', '-t', 'built', '-'], { input: `FROM ${lab.busybox}\nCMD ["echo", "piped"]` });
    expect(await run()).toBe('piped');
    expect((await lab.docker(['build', '-q', '-'], { input: `FROM ${lab.busybox}` })).stdout).toMatch(
      /^sha256:[0-9a-f]{64}\n$/,
    );
    const broken = await lab.api('POST', '/build', Buffer.alloc(5000, 'x'));
    expect(broken.status).toBe(400);
    const empty = await lab.api('POST', '/build', new TarBuilder().file('Dockerfile', ' \n').build());
    expect(empty.json()).toEqual({ message: 'the Dockerfile (Dockerfile) cannot be empty' });
    const none = await lab.api('POST', '/build?dockerfile=../../etc/passwd', new TarBuilder().build());
    expect(none.json()).toEqual({ message: 'Cannot locate specified Dockerfile: ../../etc/passwd' });
  });

  test('a build that was given an id is cancelled by it', async () => {
    const dockerfile = `FROM ${lab.busybox}\nRUN echo begun && sleep 600`;
    const archive = new TarBuilder().file('Dockerfile', dockerfile).build();
    const building = lab.api('POST', '/build?buildid=mine&nocache=1', archive);
    await eventually('the step runs', async () => {
      const jobs = (await lab.api('GET', '/jobs')).json() as { Progress: { Message: string } | null }[];
      return jobs.some(({ Progress: progress }) => progress?.Message === 'begun') || undefined;
    });
    expect((await lab.api('POST', '/build/cancel?id=another')).status).toBe(200);
    expect((await lab.api('POST', '/build/cancel')).status).toBe(400);
    const cancelled = await lab.api('POST', '/build/cancel?id=mine');
    expect([cancelled.status, cancelled.body.toString()]).toEqual([200, '']);
    expect((await building).body.toString()).toMatch(/"error":"job \w+ \(image\.build\) was cancelled"/);
  });

  test('tare builds what docker builds, with its own context, names and image id file', async () => {
    const directory = await context({
      'sub/Dockerfile.own': 'FROM busybox\nARG v\nCOPY . /ctx\nRUN echo $v > /v',
      'sub/Dockerfile.own.dockerignore': '*.log\n!kept.log\nsub',
      'a.log': '',
      'kept.log': '',
      'deep/b.log': 'only at the top',
      text: 'text',
    });
    await symlink('text', join(directory, 'link'));
    const file = join(directory, 'sub/Dockerfile.own');
    const iidfile = join(directory, '../iid');
    const flags = ['-t', 'built', '-f', file, '--build-arg', 'v=1', '--label', 'l=2', '--iidfile', iidfile];
    // a limit that only the classic builder knows: its way, and its words
    const built = await lab.tare(['build', '--memory', '512m', ...flags, directory]);
    expect(built.stderr).toBe('');
    expect(built.stdout).toMatch(/^Step 1\/4 : FROM [^]*Successfully tagged built:latest\n$/);
    expect(await run('sh', '-c', 'cat /v; cd /ctx; find . | sort; readlink link')).toBe(
      '1\n.\n./deep\n./deep/b.log\n./kept.log\n./link\n./text\ntext',
    );
    expect((await readFile(iidfile, 'utf8')).trim()).toBe((await inspect()).Id);

    const piped = await lab.tare(['build', '-q', '-'], { input: `FROM ${lab.busybox}\nCMD ["x"]` });
    expect(piped.stdout).toMatch(/^sha256:[0-9a-f]{64}\n$/);
    const failed = await lab.tare(['build', '--memory', '512m', '-'], {
      input: `FROM ${lab.busybox}\nRUN exit 7`,
    });
    expect(failed.code).toBe(7);
    expect(failed.stderr).toContain('returned a non-zero code: 7');
    const nowhere = await lab.tare(['build', '/nosuch']);
    expect(nowhere.stderr).toContain('unable to prepare context: path "/nosuch" not found');
    const without = await lab.tare(['build', folder]);
    expect(without.stderr).toContain('open Dockerfile: no such file or directory');
  });

  test('what is probably not meant is told of, and can be asked for alone', async () => {
    const files = { Dockerfile: 'FROM busybox\nMAINTAINER me\nCMD echo hello' };
    expect(await built(files)).toContain(
      '[Warning] JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals (line 3)\n',
    );
    const directory = await context(files);
    const checked = await lab.tare(['build', '--check', directory]);
    expect(checked.code).toBe(1);
    expect(checked.stderr).toBe('check complete, 2 warnings found\n');
    expect(checked.stdout).toContain(
      'WARNING: MaintainerDeprecated - https://docs.docker.com/go/dockerfile/rule/maintainer-deprecated/\n',
    );
    expect(checked.stdout).toContain('Dockerfile:2\n--------------------\n');
    expect(checked.stdout).toContain('   2 | >>> MAINTAINER me\n');
    const clean = await lab.tare([
      'build',
      '--check',
      await context({ Dockerfile: 'FROM busybox\nCMD ["x"]' }),
    ]);
    expect(clean).toMatchObject({ code: 0, stdout: 'Check complete, no warnings found.\n' });
    const strict = await build({ Dockerfile: `# check=error=true\n${files.Dockerfile}` });
    expect(strict.code).toBe(1);
    expect(strict.stderr).toContain(
      'lint violation found for rules: JSONArgsRecommended, MaintainerDeprecated',
    );
    expect(strict.stdout).not.toContain('Step');
  });

  test('modes of copies in letters, for files and directories', async () => {
    await built({
      Dockerfile: 'FROM busybox\nCOPY --chmod=u=rwX,go=rX d /d\nCOPY --chmod=a+x,go-r d/file /x\n',
      'd/file': '',
      'd/sub/file': '',
    });
    expect(await run('stat', '-c', '%a', '/d/sub', '/d/sub/file', '/x')).toBe('755\n644\n711');
    const wrong = await build({ Dockerfile: 'FROM busybox\nCOPY --chmod=u+q a /\n', a: '' });
    expect(wrong.stderr).toContain('invalid chmod parameter: "u+q"');
  });

  test.each(['xz', 'bzip2'])(
    'archives of %s: unpacked by ADD, as contexts, and refused when broken',
    async (program) => {
      const archive = new TarBuilder().file('in/side', 'content').build();
      const compressed = execFileSync(program, ['-c'], { input: archive });
      const directory = await context({ Dockerfile: 'FROM busybox\nADD a /a\nADD word /word\n' });
      await writeFile(join(directory, 'a'), compressed);
      await writeFile(join(directory, 'word'), execFileSync(program, ['-c'], { input: 'no archive' }));
      await lab.ok(['build', '-t', 'built', directory]);
      expect(await run('cat', '/a/in/side')).toBe('content');
      expect(await run('test', '-f', '/word')).toBe('');
      const whole = new TarBuilder().file('Dockerfile', `FROM ${lab.busybox}\nLABEL by=${program}\n`).build();
      const sent = await lab.api('POST', '/build?t=built', execFileSync(program, ['-c'], { input: whole }));
      expect(sent.body.toString()).toContain('Successfully tagged built:latest');
      const cut = await lab.api(
        'POST',
        '/build?t=built',
        execFileSync(program, ['-c'], { input: whole }).subarray(0, 40),
      );
      expect(cut.status).toBe(400);
      expect(cut.body.toString()).toContain(`${program} cannot read the archive`);
    },
  );

  test('the same build with a fixed epoch gives the same image', async () => {
    const files = { Dockerfile: 'FROM busybox\nWORKDIR /made/here\nCOPY f /f\nENV a=1', f: 'content' };
    const ids: string[] = [];
    for (let i = 0; i < 2; i += 1) {
      await built(files, '--no-cache', '--build-arg', 'SOURCE_DATE_EPOCH=1700000000');
      ids.push((await inspect()).Id);
      await lab.ok(['rmi', 'built']);
    }
    expect(ids[0]).toBe(ids[1]);
  });
});

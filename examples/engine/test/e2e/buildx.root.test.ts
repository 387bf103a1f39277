/** `docker buildx build`, the stock plugin, with the engine as its BuildKit. */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { COMPONENTS, componentPath } from '../../../../test/lab/debian.ts';
import { compileStatic } from '../../../../test/lab/programs.ts';
import { run } from '../../../../test/lab/process.ts';
import { missingForBuildx, startBuildLab, type BuildLab } from './build-lab.ts';
import type { Lab } from './lab.ts';

/** Asks the agent for its keys (draft-miller-ssh-agent 4.4) and writes the answer. */
const ASK = `
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
int main(void) {
  struct sockaddr_un to = {.sun_family = AF_UNIX};
  strncpy(to.sun_path, getenv("SSH_AUTH_SOCK"), sizeof to.sun_path - 1);
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0) { perror("connect"); return 1; }
  if (write(fd, "\\0\\0\\0\\1\\13", 5) != 5) return 2;
  /* an answer of 9 bytes; forwarders pass its length and its body on by themselves */
  for (int count = 0; count < 9; count++) {
    unsigned char byte;
    if (read(fd, &byte, 1) != 1) return 3;
    printf("%02x", byte);
  }
}
`;

const missing = missingForBuildx();

describe.skipIf(missing !== undefined)(`buildx${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let here: BuildLab;
  let lab: Lab;
  let folder: string;
  beforeAll(async () => {
    here = await startBuildLab();
    ({ lab, folder } = here);
  });
  afterAll(() => here?.[Symbol.asyncDispose]());
  afterEach(() => here.expectNothingLeft());

  const context: BuildLab['context'] = (files) => here.context(files);
  const command: BuildLab['buildx'] = (args, options) => here.buildx(args, options);
  const build: BuildLab['build'] = (files, ...args) => here.build(files, ...args);
  const built: BuildLab['built'] = (files, ...args) => here.built(files, ...args);
  const inImage: BuildLab['inImage'] = (...argv) => here.inImage(...argv);

  test('an image is built from files, in stages, and can be run', async () => {
    const shown = await built({
      Dockerfile: `FROM busybox AS one
COPY --chmod=600 a.txt /a
RUN echo made of $(cat /a) > /b && echo said
FROM busybox
ENV X=1
COPY --from=one /b /c
COPY sub /sub
CMD ["cat", "/c", "/sub/deep/file"]
`,
      'a.txt': 'content',
      'sub/deep/file': 'below\n',
    });
    expect(shown).toContain('[one 3/3] RUN echo made of');
    expect(shown).toContain('said');
    expect(shown).toContain('[internal] load build context');
    expect(await inImage()).toBe('made of content\nbelow');
    expect(await lab.ok(['inspect', '-f', '{{.Config.Env}}', 'built'])).toContain('X=1');
  });

  test('what did not change comes from the cache', async () => {
    const files = { Dockerfile: 'FROM busybox\nCOPY a /a\nRUN cat /a > /cached\n', a: 'once' };
    expect(await built(files)).not.toContain('CACHED');
    expect((await built(files)).match(/CACHED/g)).toHaveLength(2);
    expect(await built(files, '--no-cache')).not.toContain('CACHED');
  });

  test('cache comes with an image of a registry', async () => {
    const files = { Dockerfile: 'FROM busybox\nRUN echo far > /far\nCOPY a /a\n', a: 'x' };
    const name = `${lab.registry}cached`;
    await built(files, '--cache-to', 'type=inline');
    await lab.ok(['tag', 'built', name]);
    await lab.ok(['push', '-q', name]);
    await lab.ok(['rmi', '-f', name, 'built']);
    await lab.ok(['builder', 'prune', '-af']);
    const shown = await built(files, '--cache-from', name);
    expect(shown).toContain(`importing cache manifest from ${name}`);
    expect(shown.match(/CACHED/g)).toHaveLength(2);
    const none = await built(files, '--no-cache', '--cache-from', `${lab.registry}nowhere`);
    expect(none).not.toContain('CACHED');
    await lab.ok(['rmi', '-f', name]);
  });

  test('ignored files never leave the client', async () => {
    await built({
      Dockerfile: 'FROM busybox\nCOPY . /all\n',
      '.dockerignore': '*.secret\n!kept.secret\nDockerfile\n',
      'a.secret': '',
      'kept.secret': '',
      'plain é': 'x',
    });
    expect(await inImage('sh', '-c', 'cd /all; echo .d* *')).toBe('.dockerignore kept.secret plain é');
  });

  test('a command that fails, a file that is missing and a line that is wrong are told in words', async () => {
    const failed = await build({ Dockerfile: 'FROM busybox\nRUN echo before; exit 7\n' });
    expect(failed.code).toBe(1);
    expect(failed.stderr).toContain('before');
    expect(failed.stderr).toContain(
      'process "/bin/sh -c echo before; exit 7" did not complete successfully: exit code: 7',
    );
    const absent = await build({ Dockerfile: 'FROM busybox\nCOPY nothing /\n' });
    expect(absent.code).toBe(1);
    expect(absent.stderr).toContain('nothing');
    const wrong = await build({ Dockerfile: 'FROM busybox\nCOPPY a b\n' });
    expect(wrong.code).toBe(1);
    expect(wrong.stderr).toContain('line 2');
    expect(wrong.stderr).toMatch(/Dockerfile:2\n.*\n.*1 \|[^\n]*\n.*2 \| >>> COPPY a b/);
    const none = await build({ other: '' });
    expect(none.code).toBe(1);
    expect(none.stderr).toMatch(/failed to read dockerfile/);
  });

  test('warnings, and questions about a Dockerfile', async () => {
    const files = {
      Dockerfile: `# one makes things
FROM busybox AS one
# name of the thing
ARG name=thing
CMD echo hello
FROM one AS two
COPY left /
`,
      '.dockerignore': 'left',
      left: '',
    };
    const result = await build(files, '--target', 'one');
    expect(result.stderr).toContain('JSONArgsRecommended: JSON arguments recommended for CMD');
    const directory = await context(files);
    const ask = async (question: string, ...args: string[]): Promise<string> => {
      const asked = await command(['build', `--print=${question}`, ...args, directory], {
        env: { BUILDX_EXPERIMENTAL: '1' },
      });
      expect(asked.stderr).not.toContain('ERROR');
      return asked.stdout;
    };
    const lint = await ask('lint');
    expect(lint).toContain('WARNING: JSONArgsRecommended - https://docs.docker.com/go/dockerfile/rule/');
    expect(lint).toContain('WARNING: CopyIgnoredFile');
    expect(lint).toMatch(/7 \| >>> COPY left \//);
    const outline = await ask('outline', '--target', 'one');
    expect(outline).toMatch(/^TARGET: +one$/m);
    expect(outline).toMatch(/^DESCRIPTION: +makes things$/m);
    expect(outline).toMatch(/^name +thing +of the thing$/m);
    expect(await ask('targets')).toMatch(/^two \(default\)/m);
    const unknown = await command(['build', '--print=nothing', directory], {
      env: { BUILDX_EXPERIMENTAL: '1' },
    });
    expect(unknown.stderr).toContain('unsupported request frontend.nothing');
  });

  test('secrets are there for one command, and nowhere else', async () => {
    const secret = join(folder, 'secret');
    await writeFile(secret, 'hidden words');
    const shown = await built(
      {
        Dockerfile: `FROM busybox
RUN --mount=type=secret,id=key wc -c < /run/secrets/key > /size && stat -c %a /run/secrets/key
RUN --mount=type=secret,id=variable,env=KEY echo \${#KEY} > /length
RUN --mount=type=secret,id=unknown test ! -e /run/secrets/unknown
`,
      },
      '--secret',
      `id=key,src=${secret}`,
      '--secret',
      `id=variable,src=${secret}`,
    );
    expect(shown).toContain(' 400');
    expect(await inImage('cat', '/size', '/length')).toBe('12\n12');
    expect(await inImage('sh', '-c', 'test ! -e /run && echo clean')).toBe('clean');
    const required = await build({
      Dockerfile: 'FROM busybox\nRUN --mount=type=secret,id=unknown,required true\n',
    });
    expect(required.stderr).toContain('secret unknown: not found');
  });

  test('an ssh agent of the client answers a command', async () => {
    // an agent without keys; its answer is SSH_AGENT_IDENTITIES_ANSWER
    const answer = Buffer.from('000000050c00000000', 'hex');
    const agent = createServer((socket) => socket.on('data', () => socket.write(answer)));
    const path = join(folder, 'agent');
    agent.listen(path);
    await once(agent, 'listening');
    try {
      const directory = await context({
        Dockerfile: `FROM busybox
COPY ask /
RUN --mount=type=ssh /ask > /answer
RUN --mount=type=ssh,id=unknown test -z "$SSH_AUTH_SOCK"
`,
      });
      await writeFile(join(folder, 'ask.c'), ASK);
      await writeFile(join(directory, 'ask'), await compileStatic(join(folder, 'ask.c')), { mode: 0o755 });
      const result = await command(['build', '-t', 'built', '--ssh', `default=${path}`, directory]);
      expect(result.stderr).not.toContain('ERROR');
      expect(await inImage('cat', '/answer')).toBe(answer.toString('hex'));
      expect(await inImage('sh', '-c', 'test ! -e /run && echo clean')).toBe('clean');
    } finally {
      agent.close();
    }
  });

  test('a client that goes away takes its build with it', async () => {
    const directory = await context({ Dockerfile: 'FROM busybox\nRUN echo begun; sleep 600\n' });
    // the plugin itself: it outlives a docker command that is killed
    const child = spawn(componentPath(COMPONENTS.buildx)!, ['build', '--progress', 'plain', directory], {
      env: { HOME: folder, DOCKER_CONFIG: join(folder, 'config'), DOCKER_HOST: lab.host },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let shown = '';
    for await (const piece of child.stderr) {
      shown += String(piece);
      if (/^#\d+ [\d.]+ begun/m.test(shown)) break;
    }
    child.kill('SIGKILL');
    await vi.waitFor(async () => expect(await lab.ok(['ps', '-aq'])).toBe(''), { timeout: 10_000 });
    await vi.waitFor(async () => expect(await readdir(join(lab.dataRoot, 'builder/contexts'))).toEqual([]));
  });

  test('a context comes as an archive, from standard input and from an address', async () => {
    const directory = await context({
      Dockerfile: 'FROM busybox\nCOPY file /file\n',
      file: 'in an archive',
    });
    const archive = join(folder, 'context.tar');
    await run('tar', ['-C', directory, '-cf', archive, '.'], {});
    const bytes = await readFile(archive);
    const piped = spawn(componentPath(COMPONENTS.docker)!, ['buildx', 'build', '-t', 'built', '-'], {
      env: { HOME: folder, DOCKER_CONFIG: join(folder, 'config'), DOCKER_HOST: lab.host },
      stdio: ['pipe', 'ignore', 'pipe'],
    });
    piped.stdin.end(bytes);
    const told = text(piped.stderr);
    expect(await once(piped, 'close'), await told).toEqual([0, null]);
    expect(await inImage('cat', '/file')).toBe('in an archive');
    const server = createHttpServer((_request, response) => response.end(bytes));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    try {
      const { port } = server.address() as AddressInfo;
      const result = await command(['build', '-t', 'remote', `http://127.0.0.1:${port}/context.tar`]);
      expect(result.stderr).not.toContain('ERROR');
      expect(await lab.ok(['run', '--rm', 'remote', 'cat', '/file'])).toBe('in an archive');
    } finally {
      server.close();
    }
  });

  test('named contexts stand in for images, stages and directories', async () => {
    const other = await context({ file: 'from elsewhere', Dockerfile: 'FROM scratch' });
    await built(
      {
        Dockerfile:
          'FROM base\nCOPY --from=other file /file\nRUN --mount=from=other,target=/o cp /o/file /copy\n',
      },
      '--build-context',
      `other=${other}`,
      '--build-context',
      `base=docker-image://${lab.busybox}`,
    );
    expect(await inImage('cat', '/file', '/copy')).toBe('from elsewherefrom elsewhere');
  });

  test('arguments, labels, targets, hosts and the image id file', async () => {
    const idFile = join(folder, 'id');
    await built(
      {
        Dockerfile: `ARG A=none
FROM busybox AS first
ARG A
RUN echo $A > /a; grep buildhost /etc/hosts > /hosts
FROM first AS second
RUN false
`,
      },
      '--build-arg',
      'A=given',
      '--label',
      'l=1',
      '--target',
      'first',
      '--add-host',
      'buildhost:10.1.2.3',
      '--iidfile',
      idFile,
    );
    expect(await inImage('cat', '/a', '/hosts')).toMatch(/^given\n10\.1\.2\.3\s+buildhost$/);
    expect(await lab.ok(['inspect', '-f', '{{.Config.Labels.l}}', 'built'])).toBe('1');
    expect(await lab.ok(['inspect', '-f', '{{.Id}}', 'built'])).toBe(await readFile(idFile, 'utf8'));
  });

  test('a Dockerfile, or a whole context, comes from standard input', async () => {
    const only = await command(['build', '-t', 'built', '-'], {
      input: `FROM ${lab.busybox}\nRUN echo piped > /p\n`,
    });
    expect(only.stderr).toContain('RUN echo piped');
    expect(await inImage('cat', '/p')).toBe('piped');
  });

  test('results are files of the client, as a folder or an archive', async () => {
    const out = join(folder, 'out');
    const files = {
      Dockerfile: 'FROM scratch\nCOPY . /\n',
      'a/b': 'x',
      c: 'y',
      '.dockerignore': 'Dockerfile',
    };
    const local = await build(files, '-o', out);
    expect(local.stderr).not.toContain('ERROR');
    expect(await readFile(join(out, 'a/b'), 'utf8')).toBe('x');
    expect((await readdir(out)).sort()).toEqual(['.dockerignore', 'a', 'c']);
    const archive = join(folder, 'out.tar');
    const tar = await build(files, '-o', `type=tar,dest=${archive}`);
    expect(tar.stderr).not.toContain('ERROR');
    expect((await run('tar', ['-tf', archive], {})).stdout).toContain('a/b');
  });

  test('the worker, its cache and the cache going', async () => {
    const listed = await command(['ls']);
    expect(listed.stdout).toMatch(/default\*?\s.*docker/);
    expect((await command(['inspect'])).stdout).toMatch(/Status:\s+running/);
    await built({ Dockerfile: 'FROM busybox\nRUN echo for the cache > /x\n' });
    expect((await command(['du'])).stdout).toMatch(/Total:/);
    expect((await command(['prune', '-af'])).stdout).toMatch(/Total:/);
    expect(await built({ Dockerfile: 'FROM busybox\nRUN echo for the cache > /x\n' })).not.toContain(
      'CACHED',
    );
  });

  test('foreign frontends are refused in words', async () => {
    const syntax = await build({ Dockerfile: '# syntax=example/other\nFROM busybox\n' });
    expect(syntax.code).toBe(1);
    expect(syntax.stderr).toContain('the syntax example/other is not built in');
  });
});

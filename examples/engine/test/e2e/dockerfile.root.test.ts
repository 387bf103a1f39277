/** The checklist of the builder's README: instructions, flags, variables and rules of ignoring, each built for real. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { link, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { run } from '../../../../test/lab/process.ts';
import { missingForBuildx, startBuildLab, type BuildLab, type Files } from './build-lab.ts';

const missing = missingForBuildx();

describe.skipIf(missing !== undefined)(`Dockerfiles${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let here: BuildLab;
  beforeAll(async () => {
    here = await startBuildLab();
  });
  afterAll(() => here?.[Symbol.asyncDispose]());
  afterEach(() => here.expectNothingLeft());

  const built = (Dockerfile: string, files: Files = {}, ...args: string[]) =>
    here.built({ Dockerfile, ...files }, ...args);
  const refused = async (Dockerfile: string, ...args: string[]): Promise<string> => {
    const { code, stderr } = await here.build({ Dockerfile }, ...args);
    expect(code, stderr).toBe(1);
    return stderr;
  };
  const sh = (command: string): Promise<string> => here.inImage('sh', '-c', command);
  async function inspect(): Promise<{ Id: string; Author: string; Config: Record<string, unknown> }> {
    const [image] = JSON.parse(await here.lab.ok(['image', 'inspect', 'built'])) as [never];
    return image;
  }
  const history = (): Promise<string> =>
    here.lab.ok(['history', '--no-trunc', '--format', '{{.CreatedBy}}', 'built']);

  test('one that uses every instruction', async () => {
    await built(
      `# syntax=docker/dockerfile:1.20
# escape=\\
ARG BASE=busybox
FROM --platform=$BUILDPLATFORM ${here.lab.busybox} AS base
MAINTAINER somebody
ONBUILD LABEL triggered=yes
FROM base AS made
SHELL ["/bin/sh", "-ec"]
ARG what=made
ENV ONE=1 TWO="2 two"
WORKDIR /work
ADD --chmod=0640 --chown=1000:1000 a.tar.txt data/
COPY <<-"plain" <<other inline/
	kept $ONE
	plain
expanded \${ONE:-none} "quoted" \\$ONE
other
RUN <<eof
echo $what > what
id -u > who
eof
USER worker:extra
RUN ["sh", "-c", "id -u; id -g > /tmp/group"]
EXPOSE 80 443/tcp 53/udp 8000-8002
VOLUME ["/data"]
STOPSIGNAL SIGINT
HEALTHCHECK --interval=5s --timeout=2s --start-period=1s --start-interval=500ms --retries=4 CMD ["true"]
LABEL one=1 "two words"="2 \\"x\\"" three='$ONE'
CMD echo cmd
ENTRYPOINT ["sh", "-c"]
CMD ["cat what"]
`,
      { 'a.tar.txt': 'no archive' },
    );
    expect(await here.lab.ok(['run', '--rm', 'built'])).toBe('made');
    expect(await here.lab.ok(['run', '--rm', 'built', 'cat inline/*'])).toBe(
      'expanded 1 "quoted" $ONE\nkept $ONE',
    );
    expect(
      await here.lab.ok(['run', '--rm', 'built', 'stat -c "%a %u:%g" data/a.tar.txt; cat who /tmp/group']),
    ).toBe('640 1000:1000\n0\n2000');
    const { Config, Author } = await inspect();
    expect(Author).toBe('somebody');
    expect(Config).toMatchObject({
      User: 'worker:extra',
      WorkingDir: '/work',
      Cmd: ['cat what'],
      Entrypoint: ['sh', '-c'],
      Shell: ['/bin/sh', '-ec'],
      StopSignal: 'SIGINT',
      Volumes: { '/data': {} },
      Labels: { one: '1', 'two words': '2 "x"', three: '$ONE', triggered: 'yes' },
      Healthcheck: {
        Test: ['CMD', 'true'],
        Interval: 5_000_000_000,
        Timeout: 2_000_000_000,
        StartPeriod: 1_000_000_000,
        StartInterval: 500_000_000,
        Retries: 4,
      },
    });
    expect(Config['Env']).toEqual(expect.arrayContaining(['ONE=1', 'TWO=2 two']));
    expect(Object.keys(Config['ExposedPorts'] as object).sort()).toEqual(
      ['443/tcp', '53/udp', '80/tcp', '8000/tcp', '8001/tcp', '8002/tcp'].sort(),
    );
    expect(Config['OnBuild']).toBeFalsy();
  });

  describe('variables', () => {
    test('are expanded where they may be, and nowhere else', async () => {
      await built(
        `FROM busybox AS source
RUN echo s > /s
FROM busybox
ARG d=dir u=1000 m=0640 p=90
ENV S=/s v=value
COPY --from=source --chown=$u:$u --chmod=$m $S /$d/
ADD $S /\${d}2/
WORKDIR /w/$v
EXPOSE $p
LABEL l-$v="$v"
VOLUME /vol/$v
STOPSIGNAL SIG\${unset:-INT}
USER $u
ONBUILD ENV later=$v
RUN --mount=type=tmpfs,target=/t-$v mount | grep -o /t-value
HEALTHCHECK CMD echo $v
CMD echo $v
`,
        { s: 'context' },
      );
      expect(await sh('stat -c "%a %u %n" /dir/s /dir2/s; pwd')).toBe(
        '640 1000 /dir/s\n644 0 /dir2/s\n/w/value',
      );
      const { Config } = await inspect();
      expect(Config).toMatchObject({
        Cmd: ['/bin/sh', '-c', 'echo $v'],
        Labels: { 'l-value': 'value' },
        Volumes: { '/vol/value': {} },
        StopSignal: 'SIGINT',
        User: '1000',
        OnBuild: ['ENV later=$v'],
        Healthcheck: { Test: ['CMD-SHELL', 'echo $v'] },
      });
      expect(Object.keys(Config['ExposedPorts'] as object)).toEqual(['90/tcp']);
    });

    test('one instruction sees one environment; ENV beats ARG; global ARG is for FROM alone', async () => {
      const files = `ARG image=${here.lab.busybox}
ARG global=g
FROM $image AS first
ENV a=old
ENV a=new b=$a
ARG c=arg
ENV c=env
ARG e=1 g=3
ARG f=2-$e
RUN echo "$b $c [$global] $f" > /out
ARG global
RUN echo "$global" >> /out
FROM first AS second
RUN echo "$e" >> /out
`;
      await built(files, {}, '--build-arg', 'c=given');
      expect(await sh('cat /out')).toBe('old env [] 2-1\ng\n1');
    });

    test('a build argument without a value takes the default, one that nobody declares is warned of', async () => {
      const { lab } = here;
      const context = await here.context({ Dockerfile: 'FROM busybox\nARG a=default\nRUN echo $a > /a\n' });
      const archive = join(here.folder, 'c.tar');
      await run('tar', ['-C', context, '-cf', archive, '.'], {});
      const body = await readFile(archive);
      const args = encodeURIComponent(JSON.stringify({ a: null, nobody: 'x' }));
      const { status, body: told } = await lab.api('POST', `/build?t=built&buildargs=${args}`, body);
      expect(status).toBe(200);
      expect(told.toString()).toContain('One or more build-args [nobody] were not consumed');
      expect(await sh('cat /a')).toBe('default');
    });

    test('proxies need no declaration, are in no history and no key, unless they are declared', async () => {
      const files = 'FROM busybox\nRUN echo $http_proxy > /p\n';
      await built(files, {}, '--build-arg', 'http_proxy=http://one');
      expect(await sh('cat /p; echo $http_proxy')).toBe('http://one');
      expect(await history()).not.toContain('http://one');
      expect(await built(files, {}, '--build-arg', 'http_proxy=http://two')).toContain('CACHED');
      const declared = 'FROM busybox\nARG http_proxy\nRUN echo $http_proxy > /p\n';
      await built(declared, {}, '--build-arg', 'http_proxy=http://one');
      expect(await built(declared, {}, '--build-arg', 'http_proxy=http://two')).not.toContain('CACHED');
    });

    test('platforms and stages have arguments, known once they are declared', async () => {
      const names = [
        'TARGETPLATFORM',
        'TARGETOS',
        'TARGETARCH',
        'TARGETVARIANT',
        'TARGETOSVERSION',
        'TARGETSTAGE',
      ];
      const others = ['BUILDPLATFORM', 'BUILDOS', 'BUILDARCH', 'BUILDVARIANT'];
      await built(
        `FROM busybox AS named\nRUN echo "[$TARGETARCH]" > /out\nARG ${[...names, ...others].join(' ')}\nRUN echo "${[...names, ...others].map((name) => `$${name}`).join('|')}" >> /out\n`,
      );
      const architecture = process.arch === 'x64' ? 'amd64' : process.arch;
      const platform = `linux/${architecture}`;
      expect(await sh('cat /out')).toBe(
        `[]\n${platform}|linux|${architecture}|||named|${platform}|linux|${architecture}|`,
      );
    });

    test("the builder's own arguments: caches kept apart, the name of the sandbox, checks", async () => {
      const files =
        'FROM busybox\nRUN --mount=type=cache,target=/c echo x >> /c/n; wc -l < /c/n > /n; hostname > /h\n';
      const hostname = ['--build-arg', 'BUILDKIT_SANDBOX_HOSTNAME=sandbox'];
      const count = async (...args: string[]): Promise<string> => {
        await built(files, {}, '--no-cache', ...hostname, ...args);
        return sh('cat /n');
      };
      expect(await count()).toBe('1');
      expect(await count()).toBe('2');
      expect(await count('--build-arg', 'BUILDKIT_CACHE_MOUNT_NS=own')).toBe('1');
      expect(await sh('cat /h')).toBe('sandbox');
      const checked = await refused(
        'FROM busybox\nMAINTAINER x\n',
        '--build-arg',
        'BUILDKIT_DOCKERFILE_CHECK=error=true',
      );
      expect(checked).toContain('MaintainerDeprecated');
    });
  });

  describe('RUN', () => {
    test('here-documents: scripts, interpreters, and those that the shell reads', async () => {
      await built(`FROM busybox
RUN <<EOF
set -e
echo "$0" > /shell
EOF
RUN <<EOF cat > /fed
fed
EOF
RUN <<'EOF'
#!/bin/ash
echo $0 > /own
EOF
RUN cat <<one <<two > /two
1
one
2
two
`);
      expect(await sh('cat /fed /two')).toBe('fed\n2');
    });

    test('networks: of its own, none, and the host’s with consent', async () => {
      await built('FROM busybox\nRUN ls /sys/class/net > /d\nRUN --network=none ls /sys/class/net > /n\n');
      expect(await sh('cat /d')).toContain('eth0');
      expect(await sh('cat /n')).not.toContain('eth0');
      const host = 'FROM busybox\nRUN --network=host cat /proc/self/net/dev | wc -l > /h\n';
      expect(await refused(host)).toContain('give the build --allow network.host');
      await built(host, {}, '--allow', 'network.host');
      expect(await refused('FROM busybox\nRUN --network=other true\n')).toContain('unsupported network mode');
    });

    test('security: as containers are, or with all powers and consent', async () => {
      const status = 'grep CapEff /proc/self/status';
      const Dockerfile = `FROM busybox\nRUN --security=insecure ${status} > /c\nRUN --security=sandbox ${status} > /s\n`;
      expect(await refused(Dockerfile)).toContain('give the build --allow security.insecure');
      await built(Dockerfile, {}, '--allow', 'security.insecure');
      expect(await sh('cat /c')).not.toBe(await sh('cat /s'));
      const device = await refused('FROM busybox\nRUN --device=vendor.com/x=y true\n');
      expect(device).toContain('no devices of the Container Device Interface');
    });

    test('mounts: bind of the context, of stages and images; what is written to them is gone', async () => {
      await built(
        `FROM busybox AS other
RUN mkdir /o && echo other > /o/f
FROM busybox
RUN --mount=target=/ctx cat /ctx/d/f > /one; ! touch /ctx/new
RUN --mount=type=bind,from=other,source=/o,target=/m,rw cat /m/f > /two && echo changed > /m/f && rm /m/f
RUN --mount=from=other,src=o,dst=/m cat /m/f > /three
RUN --mount=from=${here.lab.busybox},source=/etc/passwd,target=/p grep -c . /p > /four
`,
        { 'd/f': 'context' },
      );
      expect(await sh('cat /one /two /three; ls -d /ctx /m /p 2>/dev/null || true')).toBe(
        'contextother\nother',
      );
      expect(await refused('FROM busybox\nARG x=y\nRUN --mount=from=$x,target=/m true\n')).toContain(
        "'from' doesn't support variable expansion",
      );
    });

    test('mounts: caches with their mode, owner and first content; those that are not shared are used one by one', async () => {
      await built(`FROM busybox AS seed
RUN mkdir /seed && echo seeded > /seed/f
FROM busybox
RUN --mount=type=cache,id=m,target=/c,mode=0711,uid=1000,gid=2000 stat -c '%a %u %g' /c > /one
RUN --mount=type=cache,id=s,target=/c,from=seed,source=/seed cat /c/f > /two
RUN --mount=type=cache,id=s,target=/d,ro cat /d/f > /three; ! touch /d/x
`);
      expect(await sh('cat /one /two /three; ls -d /c /d 2>/dev/null || true')).toBe(
        '711 1000 2000\nseeded\nseeded',
      );
      const stage = (n: number, sharing: string): string =>
        `FROM busybox AS s${n}\nRUN --mount=type=cache,id=${sharing},sharing=${sharing},target=/c mkdir /c/one && sleep 0.3 && rmdir /c/one && echo ${n} > /n\n`;
      for (const sharing of ['locked', 'private']) {
        const stages = [1, 2, 3].map((n) => stage(n, sharing));
        const copies = [1, 2, 3].map((n) => `COPY --from=s${n} /n /n${n}\n`);
        await built(`${stages.join('')}FROM busybox\n${copies.join('')}`);
        expect(await sh('cat /n1 /n2 /n3')).toBe('1\n2\n3');
      }
    });

    test('mounts: memory with a size; secrets as files or variables, in no layer, key or file', async () => {
      const secret = join(here.folder, 'secret');
      await writeFile(secret, 'never-on-a-disk-4711');
      const flags = ['--secret', `id=s,src=${secret}`];
      await built(
        `FROM busybox
RUN --mount=type=tmpfs,target=/t,size=1m df -k /t | tail -n 1 | grep -q ' 1024 '
RUN --mount=type=secret,id=s stat -c '%a %u' /run/secrets/s > /one && md5sum < /run/secrets/s > /sum
RUN --mount=type=secret,id=s,target=/x/y,mode=0440,uid=1000 stat -c '%a %u' /x/y > /two
RUN --mount=type=secret,id=s,env=S test "$S" = never-on-a-disk-4711 && ! ls /run/secrets
RUN --mount=type=secret,id=missing ! ls /run/secrets/missing
`.replace('never-on-a-disk-4711', '$(echo never-on-a-disk)-4711'),
        {},
        ...flags,
      );
      expect(await sh('cat /one /two; ls -d /x /t /run/secrets 2>/dev/null || true')).toBe('400 0\n440 1000');
      const { stdout } = await run('grep', ['-rla', 'never-on-a-disk-4711', here.lab.dataRoot], {});
      expect(stdout).toBe('');
      // another value is no reason to run the command again
      const sum = 'FROM busybox\nRUN --mount=type=secret,id=s md5sum < /run/secrets/s > /other-sum\n';
      await built(sum, {}, ...flags);
      await writeFile(secret, 'another');
      expect(await built(sum, {}, ...flags)).toContain('CACHED');
    });

    test('mounts: what is wrong with them is said', async () => {
      const wrong = (mount: string): Promise<string> => refused(`FROM busybox\nRUN --mount=${mount} true\n`);
      expect(await wrong('type=secret,id=none,required')).toContain('secret none: not found');
      expect(await wrong('type=ssh,required')).toContain('ssh default: not found');
      expect(await wrong('type=other,target=/x')).toContain('unsupported mount type "other"');
      expect(await wrong('type=tmpfs,target=/x,colour=red')).toContain("unexpected key 'colour'");
      expect(await wrong('type=cache,target=/x,sharing=maybe')).toContain('unsupported sharing value');
      expect(await wrong('type=cache')).toContain('needs a target');
    });
  });

  describe('files', () => {
    test('COPY: wildcards, contents of directories, links, --parents, --exclude', async () => {
      const context = await here.context({
        Dockerfile: `FROM busybox
RUN mkdir /real && ln -s /real /linked
COPY *.txt /w/
COPY d /contents
COPY d/one /renamed
COPY ../../a.txt /up/
COPY [a-b].tx? /linked/
COPY --link a.txt /linked2/f
COPY --parents x/y/z/deep.txt x/./y /p/
COPY --exclude=**/*.log --exclude=y/z x /e
COPY hard1 hard2 soft /l/
`,
        'a.txt': 'a',
        'b.txt': 'b',
        'd/one': '1',
        'd/sub/two': '2',
        'x/y/z/deep.txt': 'deep',
        'x/y/no.log': 'log',
      });
      await writeFile(join(context, 'hard1'), 'h');
      await link(join(context, 'hard1'), join(context, 'hard2'));
      await symlink('a.txt', join(context, 'soft'));
      const result = await here.buildx(['build', '--progress', 'plain', '-t', 'built', context]);
      expect(result.code, result.stderr).toBe(0);
      expect(await sh('ls /w; cd /contents; find . -type f | sort; cat /renamed /up/a.txt')).toBe(
        'a.txt\nb.txt\n./one\n./sub/two\n1a',
      );
      expect(await sh('ls /real; cat /linked2/f /l/*')).toBe('a.txt\nb.txt\nahha');
      expect(await sh('cd /p; find . -type f | sort; cd /e; find . | sort')).toBe(
        './x/y/z/deep.txt\n./y/no.log\n./y/z/deep.txt\n.\n./y',
      );
      expect(await refused('FROM busybox\nCOPY nothing* /x\n')).toContain('file not found in build context');
      expect(await refused('FROM busybox\nCOPY --colour=red a /x\n')).toContain('unknown flag: --colour');
    });

    test('COPY --link: its layer does not depend on what is below it', async () => {
      const files = { f: 'linked' };
      await built('FROM busybox\nRUN echo one > /one\nCOPY --link f /f\n', files);
      const shown = await built('FROM busybox\nRUN echo two > /two\nCOPY --link f /f\n', files);
      expect(shown.match(/CACHED/g)).toHaveLength(1);
      expect(await sh('cat /f /two')).toBe('linkedtwo');
    });

    test('ADD: addresses with modes, times, checksums and credentials; archives; what is none is copied', async () => {
      const server = createServer((request, response) => {
        const known = request.headers.authorization === 'Bearer abc' || request.url !== '/private';
        response.statusCode = known ? 200 : 401;
        response.setHeader('Last-Modified', 'Wed, 21 Oct 2015 07:28:00 GMT');
        response.end('downloaded');
      });
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      try {
        const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
        const checksum = `sha256:${createHash('sha256').update('downloaded').digest('hex')}`;
        const directory = join(here.folder, 'packed');
        await mkdir(join(directory, 'in'), { recursive: true });
        await writeFile(join(directory, 'in/f'), 'packed');
        await run('tar', ['-C', directory, '-czf', join(here.folder, 'a.tgz'), 'in'], {});
        await built(
          `FROM busybox
ADD ${base}/name.txt /dir/
ADD --checksum=${checksum} --chmod=0644 ${base}/x /file
ADD a.tgz /unpacked/
ADD --unpack=false a.tgz /whole/
ADD --unpack=true a.tgz /again/
ADD plain /plain
`,
          { 'a.tgz': await readFile(join(here.folder, 'a.tgz')), plain: 'plain' },
        );
        expect(
          await sh('stat -c "%a %Y" /dir/name.txt; ls /whole; cat /file /unpacked/in/f /again/in/f /plain'),
        ).toBe('600 1445412480\na.tgz\ndownloadedpackedpackedplain');
        const other = `FROM busybox\nADD --checksum=sha256:${'0'.repeat(64)} ${base}/x /f\n`;
        expect(await refused(other)).toContain('has the digest');
        const secured = `FROM busybox\nADD ${base}/private /f\n`;
        expect(await refused(secured)).toContain('401');
        const token = join(here.folder, 'token');
        await writeFile(token, 'Bearer abc');
        await built(secured, {}, '--secret', `id=HTTP_AUTH_HEADER_${new URL(base).host},src=${token}`);
        await writeFile(token, 'abc');
        await built(
          `${secured}# again\n`,
          {},
          '--no-cache',
          '--secret',
          `id=HTTP_AUTH_TOKEN_${new URL(base).host},src=${token}`,
        );
        expect(await sh('cat /f')).toBe('downloaded');
      } finally {
        server.close();
      }
    });

    test('ignore files: of the Dockerfile before that of the context, exceptions, the last rule wins', async () => {
      const rules = [
        '# comment',
        '',
        '  /a  ',
        'logs/**',
        '!logs/keep/**',
        '*.md',
        '!README.md',
        'README.md',
        '!b.md',
      ];
      const context = await here.context({
        '.dockerignore': '*',
        'own.Dockerfile': 'FROM busybox\nCOPY . /c\n',
        'own.Dockerfile.dockerignore': [...rules, 'own.Dockerfile*', '.dockerignore'].join('\n'),
        a: '',
        'sub/a': '',
        'logs/x': '',
        'logs/keep/y': '',
        'README.md': '',
        'b.md': '',
      });
      const result = await here.buildx([
        'build',
        '-t',
        'built',
        '-f',
        join(context, 'own.Dockerfile'),
        context,
      ]);
      expect(result.code, result.stderr).toBe(0);
      expect(await sh('cd /c; find . -type f | sort')).toBe('./b.md\n./logs/keep/y\n./sub/a');
    });
  });

  test('WORKDIR accumulates, USER and its group, VOLUME keeps what comes after it', async () => {
    await built(
      `FROM busybox
WORKDIR /a
WORKDIR b
WORKDIR ../c
RUN pwd > /pwd
VOLUME /data
RUN mkdir -p /data && echo kept > /data/f
USER 1000
RUN id -u > /tmp/u; id -g > /tmp/g
USER worker:2000
RUN id -g > /tmp/g2
COPY f /owned
WORKDIR /of/worker
`,
      { f: '' },
    );
    expect(await sh('cat /pwd /data/f /tmp/u /tmp/g /tmp/g2; stat -c %u:%g /owned /of /of/worker /a/c')).toBe(
      '/a/c\nkept\n1000\n1000\n2000\n0:0\n1000:2000\n1000:2000\n0:0',
    );
  });

  test('ONBUILD: with files and mounts of other stages, and never of what it may not have', async () => {
    const { lab } = here;
    const triggers = [
      'ONBUILD COPY --from=src /s /t',
      'ONBUILD RUN --mount=from=src,target=/m cat /m/s > /u',
      'ONBUILD CMD ["cat", "/t"]',
    ];
    const base = await here.build({ Dockerfile: `FROM busybox\n${triggers.join('\n')}\n` }, '-t', 'triggers');
    expect(base.code, base.stderr).toBe(0);
    await built('FROM busybox AS src\nRUN echo s > /s\nFROM triggers\n');
    expect(await lab.ok(['run', '--rm', 'built'])).toBe('s');
    expect((await inspect()).Config['OnBuild']).toBeFalsy();
    for (const wrong of ['ONBUILD ONBUILD RUN x', 'ONBUILD FROM x', 'ONBUILD MAINTAINER x']) {
      expect(await refused(`FROM busybox\n${wrong}\n`)).toMatch(/isn't allowed/);
    }
    await lab.ok(['rmi', '-f', 'triggers']);
  });

  test('CMD of a base goes with a new ENTRYPOINT, CMD of the stage stays', async () => {
    await built('FROM busybox AS base\nCMD ["inherited"]\nFROM base\nENTRYPOINT ["e"]\n');
    expect((await inspect()).Config['Cmd']).toBeFalsy();
    await built('FROM busybox\nCMD ["own"]\nENTRYPOINT ["e"]\n');
    expect((await inspect()).Config['Cmd']).toEqual(['own']);
  });

  test('what is wrong names its line, and what was meant', async () => {
    expect(await refused('FROM busybox\n\nRUNN x\n')).toMatch(
      /line 3: unknown instruction: RUNN \(did you mean RUN\?\)/,
    );
    const target = await refused('FROM busybox AS build\nFROM busybox\n', '--target', 'biuld');
    expect(target).toContain('did you mean build?');
    for (const [text, message] of [
      ['EXPOSE 99999', 'Invalid containerPort'],
      ['SHELL sh -c', 'SHELL requires the arguments to be in JSON form'],
      ['HEALTHCHECK --interval=1x CMD true', 'invalid duration'],
      ['ENV a', 'ENV must have two arguments'],
      ['COPY --from=9 / /', 'invalid from flag value 9'],
    ]) {
      expect(await refused(`FROM busybox\n${text}\n`)).toContain(message);
    }
    expect(await refused('RUN x\n')).toContain('no build stage');
    const epoch = ['--build-arg', 'SOURCE_DATE_EPOCH=soon'];
    expect(await refused('FROM busybox\n', ...epoch)).toContain('SOURCE_DATE_EPOCH cannot be');
  });

  test('results: not those of one stage; the same again when everything is forgotten', async () => {
    const files = {
      Dockerfile: 'FROM busybox AS a\nRUN echo a > /a\nFROM busybox AS b\nCOPY f /f\nCOPY --from=a /a /\n',
      f: 'x',
    };
    await here.built(files);
    expect((await here.built(files, '--no-cache-filter', 'a')).match(/CACHED/g)).toHaveLength(2);
    const epoch = ['--build-arg', 'SOURCE_DATE_EPOCH=1700000000'];
    const made = { Dockerfile: 'FROM busybox\nWORKDIR /w\nCOPY f .\nRUN mkdir d && echo x > d/f\n', f: 'x' };
    await here.built(made, ...epoch);
    const { Id } = await inspect();
    await here.lab.ok(['rmi', '-f', 'built']);
    await here.lab.ok(['builder', 'prune', '-af']);
    expect(await here.built(made, ...epoch)).not.toContain('CACHED');
    expect((await inspect()).Id).toBe(Id);
  });
});

/**
 * The same Dockerfiles built by dockerd's classic builder, by buildah and by us: settings and files of the images compared.
 * Where they differ, the table below says why.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { extract } from 'tar-stream';
import { Readable } from 'node:stream';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { COMPONENTS, componentPath } from '../../../../test/lab/debian.ts';
import { run, startServer } from '../../../../test/lab/process.ts';
import { startBuildLab, type BuildLab, type Files } from './build-lab.ts';
import { missingForEndToEnd } from './lab.ts';

const call = promisify(execFile);

/** Name → files. Only what the classic builder knows. */
const CORPUS: Record<string, Files> = {
  settings: {
    Dockerfile: `FROM busybox
MAINTAINER somebody
ENV a=1 b="two words" c=$a
ENV old the rest of the line
LABEL one=1 "two words"="x y"
EXPOSE 80 53/udp 8000-8002
VOLUME /one ["/two"]
USER worker
WORKDIR /made/here
STOPSIGNAL SIGINT
HEALTHCHECK --interval=5s --timeout=2s --retries=2 CMD echo healthy
ONBUILD RUN echo triggered
CMD ["a", "b"]
`.replace(' ["/two"]', ''),
  },
  shells: {
    Dockerfile:
      'FROM busybox\nCMD echo inherited\nSHELL ["/bin/ash", "-ec"]\nRUN echo $0 > /zero\nENTRYPOINT echo entry\n',
  },
  copies: {
    Dockerfile: `FROM busybox
COPY a.txt /renamed
COPY a.txt b.txt /both/
COPY d /contents/
COPY --chown=worker:extra d/ /owned
COPY *.txt /globbed/
COPY a.txt /new/deep/path/
ADD a.txt /added
RUN mkdir /real && ln -s /real /link
COPY a.txt /link/
WORKDIR /w
COPY d/sub ./relative
`,
    'a.txt': 'a',
    'b.txt': 'b',
    'd/one': '1',
    'd/sub/two': '2',
  },
  stages: {
    Dockerfile: `ARG base=/base
FROM busybox AS first
ARG base
RUN mkdir -p $base/d && echo made > $base/d/f && chmod 4750 $base/d/f && chown 1000:2000 $base/d/f
FROM busybox
COPY --from=first /base /copied
COPY --from=0 /base/d/f /single
RUN rm -r /home && echo again > /copied/d/g
`,
  },
  variables: {
    Dockerfile: `FROM busybox
ARG given=default
ARG other=\${given:-x}-\${unset:-fallback}
ENV e=\${other:+set} f=\\$e g='$e' h="$e"
RUN echo "$given $other $e $f $g $h" > /out
WORKDIR /$given/\${e}
COPY f /\${e}/
LABEL l=$other
`,
    f: '',
  },
  words: {
    Dockerfile: `FROM busybox
# comment
RUN echo one \\
  # inside

  two \\
  && echo three > /three
RUN ["sh", "-c", "echo exec > /exec"]
ENV x=a\\ b y="q\\"q" z='s s'
RUN env | grep '^[xyz]=' | sort > /env
`,
  },
  ignored: {
    Dockerfile: 'FROM busybox\nCOPY . /all\n',
    '.dockerignore': '*.log\n!kept.log\nsub/*\n!sub/yes\nDockerfile\n.dockerignore\n',
    'a.log': '',
    'kept.log': '',
    'sub/no': '',
    'sub/yes': '',
    'deep/b.log': '',
  },
};

/** Lines that may differ: which peer, in which Dockerfile, what, and why. */
const EXPLAINED: { peer: string; file: string; pattern: RegExp; why: string }[] = [
  {
    peer: 'buildah',
    file: 'settings',
    pattern: /^Config\.ExposedPorts /,
    why: 'buildah keeps a range of EXPOSE as it is written; dockerd and we list its ports',
  },
  {
    peer: 'buildah',
    file: 'settings',
    pattern: /^one directory /,
    why: 'buildah makes the directories of VOLUME; dockerd and we leave that to the container',
  },
  {
    peer: 'dockerd',
    file: 'settings',
    pattern: /^made(?:\/here)? directory /,
    why: 'the classic builder made WORKDIR for root; BuildKit, buildah and we for USER',
  },
  {
    peer: 'buildah',
    file: 'shells',
    pattern: /^Config\.Entrypoint /,
    why: 'buildah 1.28 runs ENTRYPOINT with /bin/sh, whatever SHELL says; dockerd and the reference say SHELL',
  },
];

const installed = (name: string): boolean =>
  (process.env.PATH ?? '').split(':').some((folder) => existsSync(join(folder, name)));
const peers = ['dockerd', 'buildah'].filter(installed);
const missing =
  missingForEndToEnd() ??
  (peers.length === 0 ? 'neither dockerd nor buildah is installed' : undefined) ??
  (process.env.TARE_TEST_FULL === undefined ? 'takes a minute: npm test -- --full does it' : undefined);

/** An image in lines that can be compared. */
interface Described {
  config: string[];
  files: string[];
}

const FIELDS = ['Env', 'Cmd', 'Entrypoint', 'Labels', 'ExposedPorts', 'Volumes', 'WorkingDir', 'User', 'StopSignal', 'OnBuild', 'Healthcheck', 'Shell']; // prettier-ignore

function configLines(config: Record<string, unknown>): string[] {
  return FIELDS.flatMap((field) => {
    const value = config[field];
    if (value === null || value === undefined || value === '') return [];
    const text = JSON.stringify(
      Array.isArray(value) || typeof value !== 'object'
        ? value
        : Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))),
    );
    return text === '[]' || text === '{}' ? [] : [`Config.${field} ${text}`];
  });
}

/** Files that a container's own mounts stand on. */
const MOUNTED = /^(?:\.dockerenv|dev|proc|sys|run|etc\/(?:hosts|hostname|resolv\.conf|mtab))(?:\/|$)/;

async function fileLines(archive: Buffer): Promise<string[]> {
  const lines: string[] = [];
  const reader = extract();
  Readable.from([archive]).pipe(reader as never);
  for await (const entry of reader) {
    const { name, type, mode = 0, uid, gid, linkname } = entry.header;
    const path = name.replace(/^\.?\//, '').replace(/\/$/, '');
    const hash = createHash('sha256');
    for await (const data of entry) hash.update(data as Buffer);
    if (path === '' || MOUNTED.test(path) || path.startsWith('bin/')) continue;
    const what = type === 'file' ? hash.digest('hex').slice(0, 12) : (linkname ?? '');
    lines.push(`${path} ${type} ${(mode & 0o7777).toString(8)} ${uid}:${gid} ${what}`);
  }
  return lines.sort();
}

describe.skipIf(missing !== undefined)(
  `beside other builders${missing ? ` (skipped: ${missing})` : ''}`,
  () => {
    const stack = new AsyncDisposableStack();
    let here: BuildLab;
    /** Builds a context and describes the result. */
    const builders = new Map<string, (context: string) => Promise<Described>>();
    beforeAll(async () => {
      here = stack.use(await startBuildLab());
      const folder = here.folder;
      builders.set('ours', withDocker(here.lab.host));
      if (peers.includes('dockerd')) {
        const root = join(folder, 'dockerd');
        await mkdir(root);
        await writeFile(join(root, 'daemon.json'), '{}');
        const host = `unix://${root}/s`;
        const flags = [
          '--data-root',
          join(root, 'data'),
          '--exec-root',
          join(root, 'run'),
          '--pidfile',
          join(root, 'pid'),
        ];
        const started = await startServer(
          'dockerd',
          ['--config-file', join(root, 'daemon.json'), '-H', host, '--bridge', 'none', ...flags],
          {
            ready: async () => (await docker(host, 'version')).code === 0,
            // containerd leaves its stacks in TMPDIR when dockerd finds it slow
            env: { ...process.env, TMPDIR: root },
            timeoutMs: 60_000,
          },
        );
        stack.defer(async () => {
          await started.stop();
          await run('umount', ['-l', join(root, 'data')], {});
        });
        builders.set('dockerd', withDocker(host));
      }
      if (peers.includes('buildah')) builders.set('buildah', await withBuildah(join(folder, 'buildah')));
    }, 120_000);
    afterAll(() => stack.disposeAsync(), 60_000);

    function docker(host: string, ...args: string[]) {
      return run(componentPath(COMPONENTS.docker)!, ['-H', host, ...args], {
        env: { PATH: process.env.PATH, HOME: here.folder, DOCKER_BUILDKIT: '0' },
        timeoutMs: 60_000,
      });
    }

    function withDocker(host: string): (context: string) => Promise<Described> {
      const program = componentPath(COMPONENTS.docker)!;
      return async (context) => {
        const { code, stdout, stderr } = await docker(host, 'build', '-t', 'compared', context);
        if (code !== 0) throw new Error(`${stdout}${stderr}`);
        const inspected = await docker(host, 'image', 'inspect', 'compared');
        const [{ Config }] = JSON.parse(inspected.stdout) as [{ Config: Record<string, unknown> }];
        const container = (await docker(host, 'create', '--network', 'none', 'compared', 'x')).stdout.trim();
        const archive = await call(program, ['-H', host, 'export', container], {
          encoding: 'buffer',
          maxBuffer: 1 << 26,
        });
        await docker(host, 'rm', '-v', container);
        return { config: configLines(Config), files: await fileLines(archive.stdout) };
      };
    }

    async function withBuildah(root: string): Promise<(context: string) => Promise<Described>> {
      await mkdir(root);
      const registries = join(root, 'registries.conf');
      const location = here.lab.registry.split('/')[0];
      await writeFile(registries, `[[registry]]\nlocation = "${location}"\ninsecure = true\n`);
      const env = { ...process.env, CONTAINERS_REGISTRIES_CONF: registries, BUILDAH_ISOLATION: 'chroot' };
      const global = [
        '--root',
        join(root, 'root'),
        '--runroot',
        join(root, 'run'),
        '--storage-driver',
        'vfs',
      ];
      const buildah = async (...args: string[]): Promise<string> => {
        const result = await run('buildah', [...global, ...args], { env, timeoutMs: 120_000 });
        if (result.code !== 0) throw new Error(`buildah ${args.join(' ')}: ${result.stdout}${result.stderr}`);
        return result.stdout.trim();
      };
      return async (context) => {
        const limits = ['--ulimit', 'nofile=1024:1024', '--ulimit', 'nproc=1024:1024'];
        await buildah('bud', '--format', 'docker', '--network', 'host', ...limits, '-t', 'compared', context);
        const { Docker } = JSON.parse(await buildah('inspect', '--type', 'image', 'compared')) as {
          Docker: { config: Record<string, unknown> & { Labels?: Record<string, string> } };
        };
        // it names itself in every image
        delete Docker.config.Labels?.['io.buildah.version'];
        // triggers run here, and speak first
        const container = (await buildah('from', 'compared')).split('\n').at(-1)!;
        const mounted = await buildah('mount', container);
        const archive = await call('tar', ['-C', mounted, '--numeric-owner', '-cf', '-', '.'], {
          encoding: 'buffer',
          maxBuffer: 1 << 26,
        });
        await buildah('rm', container);
        return { config: configLines(Docker.config), files: await fileLines(archive.stdout) };
      };
    }

    test.each(Object.keys(CORPUS))('%s', { timeout: 180_000 }, async (name) => {
      const context = await here.context(CORPUS[name]!);
      const ours = await builders.get('ours')!(context);
      for (const peer of peers) {
        const theirs = await builders.get(peer)!(context);
        for (const part of ['config', 'files'] as const) {
          const differing = [
            ...ours[part].filter((line) => !theirs[part].includes(line)).map((line) => `- ${line}`),
            ...theirs[part].filter((line) => !ours[part].includes(line)).map((line) => `+ ${line}`),
          ].filter(
            (line) =>
              !EXPLAINED.some(
                (one) =>
                  one.peer === peer &&
                  (one.file === '' || one.file === name) &&
                  one.pattern.test(line.slice(2)),
              ),
          );
          expect(differing, `${peer}: ${name}: ${part} (- ours, + theirs)`).toEqual([]);
        }
      }
    });
  },
);

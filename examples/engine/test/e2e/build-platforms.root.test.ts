/** One build for several platforms: an index of images, of which only those of this machine may run commands. */
import { mkdir, readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { RegistryClient } from '@tare/registry-client';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { COMPONENTS, componentPath } from '../../../../test/lab/debian.ts';
import { busyboxLayer, pushIndex } from '../../../../test/lab/images.ts';
import { run, type Finished } from '../../../../test/lab/process.ts';
import { platformObstacle } from '../../src/builder/emulation.ts';
import { missingForBuildx, startBuildLab, type BuildLab, type Files } from './build-lab.ts';

const missing = missingForBuildx();
const OWN = process.arch === 'arm64' ? 'arm64' : 'amd64';
const OTHER = OWN === 'amd64' ? 'arm64' : 'amd64';
const BOTH = `linux/${OWN},linux/${OTHER}`;
/** ELF machines. */
const MACHINE = { amd64: 62, arm64: 183 } as const;

type Document = { manifests: { digest: string; platform: { os: string; architecture: string } }[] };
type Manifest = { config: { digest: string }; layers: { digest: string }[] };

describe.skipIf(missing !== undefined)(
  `builds for several platforms${missing ? ` (skipped: ${missing})` : ''}`,
  () => {
    let here: BuildLab;
    let base: string;
    beforeAll(async () => {
      here = await startBuildLab();
      base = `${here.lab.registry}both:latest`;
      const layer = await busyboxLayer(componentPath(COMPONENTS.busybox)!);
      // the other machine's program: as its kernel knows it, for ours it is none
      const foreign = layer.map((entry) => {
        if (entry.path !== 'bin/busybox') return entry;
        const content = Buffer.from(entry.content as Buffer);
        content.writeUInt16LE(MACHINE[OTHER], 18);
        return { ...entry, content };
      });
      await pushIndex(repository('both'), 'latest', [
        { layers: [layer] },
        { layers: [foreign], architecture: OTHER },
      ]);
    });
    afterAll(() => here?.[Symbol.asyncDispose]());
    afterEach(() => here.expectNothingLeft());

    const host = (): string => here.lab.registry.replace('/', '');
    const repository = (name: string) =>
      new RegistryClient({ insecure: [host()] }).repository(`${host()}/${name}`);

    /** Both clients do the same. */
    const clients = {
      'docker buildx': (args: readonly string[]) => here.buildx(['build', '--progress', 'plain', ...args]),
      'tare build': (args: readonly string[]) => here.lab.tare(['build', '--progress', 'plain', ...args]),
    };
    const built = async (
      build: (args: readonly string[]) => Promise<Finished>,
      files: Files,
      ...args: string[]
    ) => {
      const result = await build([...args, await here.context(files)]);
      if (result.code !== 0) throw new Error(`${result.stderr}\n${here.lab.daemon.output()}`);
      return result.stderr;
    };

    const files: Files = {
      Dockerfile:
        'FROM scratch\nARG TARGETARCH\nCOPY of-$TARGETARCH /f\nCOPY common /\nENV ARCH=$TARGETARCH\n',
      'of-amd64': 'for amd64',
      'of-arm64': 'for arm64',
      common: 'for all',
    };

    /** What an index of an archive says: for each architecture, variables and layers. */
    async function layoutOf(archive: string): Promise<Map<string, { env: string[]; layers: string[] }>> {
      const folder = `${archive}.d`;
      await mkdir(folder);
      await run('tar', ['-xf', archive, '-C', folder], {});
      const blob = async <T>(digest: string): Promise<T> =>
        JSON.parse(await readFile(join(folder, 'blobs', digest.replace(':', '/')), 'utf8')) as T;
      const layout = JSON.parse(await readFile(join(folder, 'index.json'), 'utf8')) as Document;
      expect(layout.manifests).toHaveLength(1);
      const index = await blob<Document>(layout.manifests[0]!.digest);
      const found = new Map<string, { env: string[]; layers: string[] }>();
      for (const { digest, platform } of index.manifests) {
        const manifest = await blob<Manifest>(digest);
        const config = await blob<{ os: string; architecture: string; config: { Env: string[] } }>(
          manifest.config.digest,
        );
        expect(config).toMatchObject(platform);
        for (const layer of manifest.layers)
          await stat(join(folder, 'blobs', layer.digest.replace(':', '/')));
        found.set(platform.architecture, {
          env: config.config.Env,
          layers: manifest.layers.map((layer) => layer.digest),
        });
      }
      return found;
    }

    test.each(Object.entries(clients))('%s: an archive with an index', async (name, build) => {
      const archive = join(here.folder, `${name.replace(' ', '-')}.tar`);
      const shown = await built(
        build,
        files,
        '--platform',
        BOTH,
        '-t',
        'several',
        '-o',
        `type=oci,dest=${archive}`,
      );
      expect(shown).toContain(`[linux/${OTHER} 3/3] COPY common /`);
      const found = await layoutOf(archive);
      expect([...found.keys()].sort()).toEqual(['amd64', 'arm64']);
      for (const [architecture, { env }] of found) expect(env).toContain(`ARCH=${architecture}`);
      const [one, other] = [found.get('amd64')!, found.get('arm64')!];
      expect(one.layers[0]).not.toBe(other.layers[0]);
      // whoever loads it gets the image of this machine
      expect(await here.lab.ok(['load', '-i', archive])).toContain('several:latest');
      expect(await here.lab.ok(['image', 'inspect', '-f', '{{.Architecture}}', 'several'])).toBe(OWN);
      await here.lab.ok(['rmi', '-f', 'several']);
      const docker = await here.lab.tare([
        'build',
        '--platform',
        BOTH,
        '-o',
        `type=docker,dest=${archive}`,
        await here.context(files),
      ]);
      expect(docker.code).toBe(1);
      expect(docker.stderr).toContain('type=oci takes those of several platforms');
    });

    test.each(Object.entries(clients))(
      '%s: an index at a registry, on bases of both',
      async (_name, build) => {
        const name = `${here.lab.registry}pushed:both`;
        const own = await here.lab.ok(['pull', '-q', base]).then(() => here.lab.ok(['images', '-q', base]));
        const shown = await built(
          build,
          {
            Dockerfile: [
              `FROM --platform=$BUILDPLATFORM ${base} AS make`,
              'RUN echo made on $(uname -m) by $$ > /made; echo ran',
              `FROM ${base}`,
              'ARG TARGETARCH',
              'COPY --from=make /made /made',
              'COPY of-$TARGETARCH /f',
            ].join('\n'),
            'of-amd64': 'a',
            'of-arm64': 'b',
          },
          '--no-cache',
          '--platform',
          BOTH,
          '-t',
          name,
          '--push',
        );
        // what both stand on is made once
        expect(shown.match(/^#\d+ [\d.]+ ran$/gm)).toHaveLength(1);
        const pushed = repository('pushed');
        const index = await pushed.resolve('both');
        expect(index.mediaType).toBe('application/vnd.oci.image.index.v1+json');
        // each machine gets its own
        for (const architecture of [OWN, OTHER]) {
          await here.lab.docker(['rmi', '-f', name]);
          await here.lab.ok(['pull', '-q', '--platform', `linux/${architecture}`, name]);
          expect(await here.lab.ok(['image', 'inspect', '-f', '{{.Architecture}}', name])).toBe(architecture);
        }
        await here.lab.docker(['rmi', '-f', name]);
        expect(await here.lab.ok(['run', '--rm', name, 'cat', '/f'])).toBe(OWN === 'amd64' ? 'a' : 'b');
        // a name that was here means what it meant
        expect(await here.lab.ok(['images', '-q', base])).toBe(own);
        await here.lab.ok(['rmi', '-f', name]);
      },
    );

    test.each(Object.entries(clients))('%s: directories, one for each', async (name, build) => {
      const folder = join(here.folder, `${name.replace(' ', '-')}-out`);
      await built(build, files, '--platform', BOTH, '-o', folder);
      expect((await readdir(folder)).sort()).toEqual(['linux_amd64', 'linux_arm64']);
      for (const architecture of ['amd64', 'arm64']) {
        const own = join(folder, `linux_${architecture}`);
        expect(await readFile(join(own, 'f'), 'utf8')).toBe(`for ${architecture}`);
        expect(await readFile(join(own, 'common'), 'utf8')).toBe('for all');
      }
      const archive = `${folder}.tar`;
      await built(build, files, '--platform', BOTH, '-o', `type=tar,dest=${archive}`);
      const { stdout } = await run('tar', ['-tf', archive], {});
      expect(stdout).toContain('linux_arm64/f\n');
    });

    test('under a name of this engine is the image of this machine, and it says so; a push takes all', async () => {
      const { tare, ok, registry } = here.lab;
      const name = `${registry}kept:latest`;
      const build = async (...platform: string[]) =>
        tare(['build', ...platform, '-t', name, await here.context(files)]);
      const pushed = async (): Promise<string> => {
        await ok(['push', '-q', name]);
        return (await repository('kept').resolve('latest')).mediaType;
      };
      const shown = await build('--platform', BOTH);
      expect(shown.code, shown.stderr).toBe(0);
      expect(shown.stderr).toContain(`here a name is one image, now that of linux/${OWN}`);
      expect(await ok(['image', 'inspect', '-f', '{{.Architecture}}', name])).toBe(OWN);
      expect(await pushed()).toBe('application/vnd.oci.image.index.v1+json');
      await build();
      expect(await pushed()).toBe('application/vnd.oci.image.manifest.v1+json');
      await ok(['rmi', '-f', name]);
    });

    test.skipIf(platformObstacle({ os: 'linux', architecture: OTHER }) === undefined)(
      'a command of another machine is an error that says what helps',
      async () => {
        const Dockerfile = `FROM ${base}\nRUN echo never\n`;
        for (const build of Object.values(clients)) {
          const { code, stderr } = await build(['--platform', BOTH, await here.context({ Dockerfile })]);
          expect(code).toBe(1);
          expect(stderr).toContain(
            `this machine (linux/${OWN}) does not run programs of linux/${OTHER}. Register an emulator`,
          );
          expect(stderr).toContain('>>> RUN echo never');
        }
        const classic = await here.lab.docker([
          'build',
          '--platform',
          `linux/${OTHER}`,
          await here.context({ Dockerfile }),
        ]);
        expect(classic.stderr).toContain('Register an emulator');
      },
    );

    test('one that fails ends the others, and its own error is told', async () => {
      const Dockerfile = `FROM ${base}\nARG TARGETARCH\nCOPY only-$TARGETARCH /\n`;
      const { code, stderr } = await here.lab.tare([
        'build',
        '--platform',
        BOTH,
        await here.context({ Dockerfile, [`only-${OWN}`]: '' }),
      ]);
      expect(code).toBe(1);
      expect(stderr).toContain(`only-${OTHER}: file does not exist`);
    });
  },
);

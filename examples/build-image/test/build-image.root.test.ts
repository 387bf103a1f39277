/** Images built by a program alone: no daemon runs while these tests do. */
import { mkdtemp, mkdir, readdir, rm, writeFile, chmod, chown } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { BuildOutput } from '@tare/engine/builder';
import { parseImageConfig, parseImageManifest } from '@tare/image-spec';
import { MemoryContent, copyGraph, readBytes } from '@tare/image-spec/content';
import { openLayerStore } from '@tare/layer-store';
import { RegistryClient } from '@tare/registry-client';
import { layerFs } from '@tare/runtime-native';
import { startRegistry } from '@tare/registry';
import { COMPONENTS, componentPath } from '../../../test/lab/debian.ts';
import { busyboxLayer, pushImage } from '../../../test/lab/images.ts';
import { ownNetwork } from '../../../test/lab/leftovers.ts';
import { run } from '../../../test/lab/process.ts';
import { openImageBuilder, type ImageBuilder } from '../src/index.ts';

const MAIN = join(import.meta.dirname, '../src/main.ts');
const busybox = componentPath(COMPONENTS.busybox);
const missing =
  process.getuid?.() !== 0
    ? 'needs root'
    : !ownNetwork()
      ? 'needs a network namespace of its own: npm test, or vitest under unshare --net'
      : busybox === undefined
        ? 'needs busybox-static'
        : undefined;

describe.skipIf(missing !== undefined)(`build-image${missing ? ` (skipped: ${missing})` : ''}`, () => {
  const stack = new AsyncDisposableStack();
  let folder: string;
  let host: string;
  let builder: ImageBuilder;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'build-image-'));
    stack.defer(() => rm(folder, { recursive: true, force: true }));
    const registry = stack.use(
      await startRegistry({ root: join(folder, 'registry'), host: '127.0.0.1', port: 0 }),
    );
    host = new URL(registry.url).host;
    await pushImage(new RegistryClient().repository(`${host}/busybox`), 'latest', {
      layers: [await busyboxLayer(busybox!)],
    });
    builder = stack.use(await openImageBuilder(join(folder, 'builder')));
  });
  afterAll(() => stack.disposeAsync());

  let contexts = 0;
  async function context(files: Record<string, string>): Promise<string> {
    contexts += 1;
    const directory = join(folder, `context-${contexts}`);
    for (const [name, content] of Object.entries(files)) {
      await mkdir(dirname(join(directory, name)), { recursive: true });
      await writeFile(join(directory, name), content.replaceAll('FROM busybox', `FROM ${host}/busybox`));
    }
    return directory;
  }

  /** Collects what is told. */
  function listener() {
    const told = { text: '', cached: 0 };
    const output: BuildOutput = {
      begin: () => ({
        write: (data) => void (told.text += Buffer.from(data).toString('utf8')),
        progress: () => undefined,
        say: () => undefined,
        cached: () => void (told.cached += 1),
        made: () => undefined,
        end: () => undefined,
      }),
      warn: (text) => void (told.text += text),
    };
    return { told, output };
  }

  /** The config and the files of an image of the registry. */
  async function pulled(name: string) {
    const repository = new RegistryClient().repository(name);
    const content = new MemoryContent();
    const root = await repository.resolve();
    await copyGraph(repository, content, root);
    const read = async (descriptor: typeof root) => readBytes(await content.fetch(descriptor), 1 << 22);
    const manifest = parseImageManifest(await read(root), root);
    return {
      config: parseImageConfig(await read(manifest.config), manifest.config),
      manifest,
      digest: root.digest,
    };
  }

  test('a Dockerfile becomes an image of a registry, and its steps come from the cache the next time', async () => {
    const directory = await context({
      Dockerfile: `FROM busybox AS made
RUN --mount=type=cache,target=/cache echo $((1 + $(cat /cache/n 2>/dev/null || echo 0))) > /cache/n && cp /cache/n /n
RUN --mount=type=secret,id=s,env=S echo "$S" | md5sum > /sum && echo said
FROM busybox
WORKDIR /work
COPY --from=made /n /sum ./
COPY . .
USER worker
RUN test "$(id -u)" = 1000 && echo mine > /tmp/mine
CMD ["cat", "n"]
`,
      file: 'content',
      ignored: 'x',
      '.dockerignore': 'ignored\nDockerfile',
    });
    const name = `${host}/built:1`;
    const first = listener();
    const secrets = new Map([['s', Buffer.from('never-on-a-disk-0117')]]);
    const digest = await builder.buildAndPush({ context: directory, name, output: first.output, secrets });
    expect(first.told.text).toBe('said\n');
    const image = await pulled(name);
    expect(image.digest).toBe(digest);
    expect(image.config.config).toMatchObject({ Cmd: ['cat', 'n'], User: 'worker', WorkingDir: '/work' });

    const again = listener();
    expect(
      await builder.buildAndPush({ context: directory, name, output: again.output, secrets }),
    ).toBeDefined();
    expect(again.told.text).toBe('');
    expect(again.told.cached).toBe(6);
    expect((await run('grep', ['-rla', 'never-on-a-disk-0117', join(folder, 'builder')], {})).stdout).toBe(
      '',
    );

    // what is in it, as somebody else unpacks it
    await using store = await openLayerStore({ root: join(folder, 'elsewhere'), fs: layerFs });
    const repository = new RegistryClient().repository(name);
    await copyGraph(repository, store.content, await repository.resolve());
    const layers = image.manifest.layers.map((descriptor, i) => ({
      descriptor,
      diffId: image.config.rootfs.diff_ids[i]!,
    }));
    const changes = new Set<string>();
    const top = await store.unpack(layers);
    for (let snapshot: string | undefined = top; snapshot !== undefined;) {
      for await (const { path } of store.snapshots.changes(snapshot)) changes.add(path);
      snapshot = (await store.snapshots.stat(snapshot))?.parent;
    }
    for (const path of ['work/n', 'work/sum', 'work/file', 'tmp/mine']) expect(changes).toContain(path);
    for (const path of ['work/ignored', 'work/Dockerfile', 'cache', 'run/secrets', 'etc/resolv.conf']) {
      expect(changes).not.toContain(path);
    }
  });

  test('with a fixed epoch two builders make the same image', async () => {
    const directory = await context({
      Dockerfile:
        'FROM busybox\nARG SOURCE_DATE_EPOCH\nWORKDIR /w\nCOPY f .\nRUN mkdir d && echo made > d/f && rm f\n',
      f: 'x',
    });
    const digests: string[] = [];
    for (const root of ['one', 'two']) {
      await using own = await openImageBuilder(join(folder, root));
      const buildArgs = { SOURCE_DATE_EPOCH: '1700000000' };
      const { output } = listener();
      digests.push(
        await own.buildAndPush({ context: directory, name: `${host}/same:${root}`, buildArgs, output }),
      );
    }
    expect(digests[0]).toBe(digests[1]);
  });

  test('a command that fails, or is interrupted, leaves nothing', async () => {
    const { output } = listener();
    const failing = await context({ Dockerfile: 'FROM busybox\nRUN echo partly > /p; exit 3\n' });
    const options = { name: `${host}/never`, output };
    await expect(builder.buildAndPush({ context: failing, ...options })).rejects.toMatchObject({
      exitCode: 3,
    });
    const slow = await context({ Dockerfile: 'FROM busybox\nRUN sleep 60\n' });
    await expect(
      builder.buildAndPush({ context: slow, ...options, signal: AbortSignal.timeout(1500) }),
    ).rejects.toThrow();
    expect(await readdir(join(folder, 'builder/builder/contexts'))).toEqual([]);
    expect(await readdir(join(folder, 'builder/run'))).toEqual([]);
  });

  test('without root, in a user namespace, files and commands become an image', async () => {
    const directory = await context({
      Dockerfile: `FROM ${host}/busybox\nCOPY --chmod=600 f /d/\nRUN echo "$(cat /d/f) $(id -u)" > /d/g; rm -r /d/f\nENV a=b\n`,
      f: 'x',
    });
    const root = join(folder, 'rootless');
    await mkdir(root);
    await chown(root, 1000, 1000);
    await chmod(folder, 0o755);
    const name = `${host}/rootless`;
    const node = [process.execPath, '--conditions=@tare/source', MAIN, directory, name];
    const unshare = ['unshare', '--user', '--map-root-user', '--mount'];
    const { code, stdout, stderr } = await run(
      'setpriv',
      ['--reuid=1000', '--regid=1000', '--clear-groups', ...unshare, ...node],
      {
        env: { PATH: process.env.PATH, HOME: root, BUILD_IMAGE_ROOT: join(root, 'data') },
      },
    );
    // some kernels keep user namespaces from ordinary users
    if (/unshare failed: Operation not permitted/.test(stderr)) return;
    expect(code, stdout + stderr).toBe(0);
    expect(stdout).toContain(`pushed ${name}@sha256:`);
    const { config } = await pulled(name);
    expect(config.config?.Env).toEqual(['a=b']);
    expect(config.rootfs.diff_ids).toHaveLength(3);
  });
});

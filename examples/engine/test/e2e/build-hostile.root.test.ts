/** Builds of what nobody should build: an error in words, nothing left behind, and the cache as good as before. */
import { spawn, execFileSync, type ChildProcess } from 'node:child_process';
import { mkdir, mkdtemp, open, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { COMPONENTS, componentPath } from '../../../../test/lab/debian.ts';
import { run, type Finished } from '../../../../test/lab/process.ts';
import { missingForBuildx, startBuildLab, type BuildLab } from './build-lab.ts';

const missing = missingForBuildx();
const full = process.env.TARE_TEST_FULL !== undefined;

describe.skipIf(missing !== undefined)(`hostile builds${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let here: BuildLab;
  beforeAll(async () => {
    here = await startBuildLab();
  });
  afterAll(() => here?.[Symbol.asyncDispose]());
  afterEach(() => here.expectNothingLeft());

  /** Whatever happened before: the cache gives what it gave. */
  async function expectSoundCache(): Promise<void> {
    const files = { Dockerfile: 'FROM busybox\nRUN echo sound > /s\nCOPY f /f\n', f: 'f' };
    await here.built(files);
    expect((await here.built(files)).match(/CACHED/g)).toHaveLength(2);
    expect(await here.inImage('cat', '/s', '/f')).toBe('sound\nf');
  }

  test('links of a context lead nowhere but into it, whichever way it comes', async () => {
    const outside = join(here.folder, 'outside');
    await mkdir(outside, { recursive: true });
    await writeFile(join(outside, 'secret'), 'of the host');
    const context = await here.context({ Dockerfile: 'FROM busybox\nCOPY link/secret /s\n' });
    await symlink(outside, join(context, 'link'));
    const up = await here.context({ Dockerfile: 'FROM busybox\nCOPY up /s\n' });
    await symlink('../../../../../../etc/hostname', join(up, 'up'));
    for (const directory of [context, up]) {
      const clients = [
        () => here.buildx(['build', '--progress', 'plain', directory]),
        () => here.lab.docker(['build', directory]),
        () => here.lab.tare(['build', directory]),
      ];
      for (const build of clients) {
        const { code, stdout, stderr } = await build();
        expect(code).not.toBe(0);
        expect(`${stdout}${stderr}`).not.toContain('of the host');
      }
    }
    const loop = await here.context({ Dockerfile: 'FROM busybox\nCOPY a/b /x\n' });
    await symlink('b', join(loop, 'a'));
    await symlink('a', join(loop, 'b'));
    expect((await here.buildx(['build', loop])).code).toBe(1);
    // as a Dockerfile, too
    const file = await here.context({ f: '' });
    await symlink('/etc/passwd', join(file, 'Dockerfile'));
    const { stderr } = await here.lab.docker(['build', file]);
    expect(stderr).not.toContain('root:');
  });

  test('sockets and pipes: left out by our client, named by the engine when another sends them', async () => {
    const context = await here.context({ Dockerfile: 'FROM busybox\nCOPY . /c\n', f: 'f' });
    const socket = createServer().listen(join(context, 'socket'));
    await once(socket, 'listening');
    try {
      const { code, stderr } = await here.lab.tare(['build', '-t', 'built', context]);
      expect(code, stderr).toBe(0);
      expect(await here.inImage('ls', '/c')).toBe('Dockerfile\nf');
    } finally {
      socket.close();
    }
    await run('mkfifo', [join(context, 'pipe')], {});
    const piped = await here.buildx(['build', '--progress', 'plain', context]);
    expect(piped.stderr).toContain('pipe is a device, a socket or a pipe: exclude it in .dockerignore');
  });

  const clients: Record<string, (args: readonly string[]) => Promise<Finished>> = {
    'docker buildx': (args) => here.buildx(['build', ...args], { timeoutMs: 1_500_000 }),
    'tare build': (args) => here.lab.tare(['build', ...args], { timeoutMs: 1_500_000 }),
    // it reads every zero of the holes, and sends it
    'docker build': (args) => here.lab.docker(['build', ...args], { timeoutMs: 1_500_000 }),
  };

  test.each(Object.entries(clients))(
    `${full ? '100,000' : '1,000'} files, and a file of holes, through %s`,
    { timeout: 1_800_000 },
    async (_name, build) => {
      const context = await here.context({ Dockerfile: 'FROM busybox\nCOPY many /m\nCOPY sparse /s\n' });
      const count = full ? 100_000 : 1_000;
      for (let i = 0; i < 100; i += 1) {
        await mkdir(join(context, 'many', String(i)), { recursive: true });
        for (let n = 0; n < count / 100; n += 1)
          await writeFile(join(context, 'many', String(i), String(n)), '');
      }
      const sparse = await open(join(context, 'sparse'), 'w');
      const size = (full ? 5 : 0.0625) * 1024 ** 3;
      await sparse.truncate(size);
      await sparse.close();
      const { code, stderr } = await build(['-t', 'built', context]);
      expect(code, stderr).toBe(0);
      expect(await here.inImage('sh', '-c', 'find /m -type f | wc -l; stat -c %s /s')).toBe(
        `${count}\n${size}`,
      );
      await here.lab.ok(['rmi', '-f', 'built']);
      await here.lab.ok(['builder', 'prune', '-af']);
      await rm(context, { recursive: true });
    },
  );

  test('Dockerfiles of any text are built or refused, and never more', { timeout: 120_000 }, async () => {
    const words = [
      'FROM',
      'busybox',
      'RUN',
      'COPY',
      '--from=0',
      'ARG',
      '$a',
      '${',
      '<<EOF',
      'EOF',
      '\\',
      '\n',
      '"',
      "'",
      '[',
      'ENV',
      '=',
      '#',
      'ONBUILD',
      '/',
    ];
    await fc.assert(
      fc.asyncProperty(fc.array(fc.constantFrom(...words), { maxLength: 30 }), async (text) => {
        const body = execFileSync(
          'sh',
          ['-c', 'd=$(mktemp -d) && cat > $d/Dockerfile && tar -C $d -c . && rm -r $d'],
          {
            input: `FROM scratch\n${text.join(' ')}`,
          },
        );
        const reply = await here.lab.api('POST', '/build?target=none', body);
        // no target of that name: whatever parses ends there
        expect([200, 400, 404]).toContain(reply.status);
        expect(reply.body.toString()).not.toMatch(/undefined|TypeError|at .*\.ts:/);
      }),
      { numRuns: full ? 500 : 40 },
    );
  });

  test('a client that vanishes in the middle of its context, or of a command, leaves nothing', async () => {
    const socket = connect(here.lab.socketPath);
    await once(socket, 'connect');
    socket.write(
      'POST /build HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-tar\r\nTransfer-Encoding: chunked\r\n\r\n',
    );
    const directory = await here.context({ Dockerfile: 'FROM busybox\n', large: 'x'.repeat(100_000) });
    const archive = execFileSync('tar', ['-C', directory, '-cf', '-', '.'], { maxBuffer: 1 << 24 });
    socket.write(`${archive.length.toString(16)}\r\n`);
    socket.write(archive.subarray(0, 5000));
    await vi.waitFor(async () =>
      expect((await here.lab.api('GET', '/jobs')).body.toString()).toMatch(/"running"/),
    );
    socket.destroy();
    await vi.waitFor(() => here.expectNothingLeft(), { timeout: 10_000 });
    const context = await here.context({
      Dockerfile: 'FROM busybox\nRUN echo begun; sleep 60\nRUN echo never\n',
    });
    const child = spawn(
      componentPath(COMPONENTS.docker)!,
      ['-H', here.lab.host, 'build', '--no-cache', context],
      {
        env: { HOME: here.folder, DOCKER_BUILDKIT: '0', PATH: process.env.PATH },
        stdio: ['ignore', 'pipe', 'ignore'],
      },
    );
    let shown = '';
    for await (const data of child.stdout) {
      shown += String(data);
      if (shown.includes('begun\n')) break;
    }
    child.kill('SIGKILL');
    await vi.waitFor(() => here.expectNothingLeft(), { timeout: 10_000 });
    const jobs = (await here.lab.api('GET', '/jobs')).body.toString();
    expect(jobs).not.toMatch(/"running"/);
    await expectSoundCache();
  });

  test.each(['docker buildx', 'tare build'])(
    '%s that vanishes in the middle of its context, or of a command, leaves nothing',
    { timeout: 60_000 },
    async (name) => {
      const client = (context: string): ChildProcess => {
        const [command, args] =
          name === 'tare build'
            ? [process.execPath, [...here.lab.tareCommand, 'build', '--no-cache', context]]
            : [componentPath(COMPONENTS.docker)!, ['buildx', 'build', '--no-cache', context]];
        return spawn(command, args, {
          env: {
            PATH: process.env.PATH,
            HOME: here.folder,
            DOCKER_CONFIG: join(here.folder, 'config'),
            DOCKER_HOST: here.lab.host,
            BUILDKIT_PROGRESS: 'plain',
          },
          stdio: ['ignore', 'ignore', 'pipe'],
        });
      };
      const killedWhen = async (context: string, shown: RegExp): Promise<void> => {
        const child = client(context);
        let told = '';
        for await (const data of child.stderr!) {
          told += String(data);
          if (shown.test(told)) break;
        }
        expect(told).toMatch(shown);
        child.kill('SIGKILL');
        await once(child, 'close');
        await vi.waitFor(() => here.expectNothingLeft(), { timeout: 10_000 });
        await vi.waitFor(async () =>
          expect((await here.lab.api('GET', '/jobs')).body.toString()).not.toMatch(/"running"/),
        );
      };
      // a pipe that nobody writes to would be refused; a file that is too large to be sent at once is not
      const large = await here.context({ Dockerfile: 'FROM busybox\nCOPY large /\n' });
      await run('dd', ['if=/dev/urandom', `of=${join(large, 'large')}`, 'bs=1M', 'count=64'], {});
      await killedWhen(large, /load build context/);
      await rm(large, { recursive: true });
      const running = await here.context({
        Dockerfile: 'FROM busybox\nRUN echo be""gun; sleep 60\nRUN echo never\n',
      });
      await killedWhen(running, /begun/);
      // nothing of a context that did not come whole counts as cache
      const records = (await here.lab.api('GET', '/system/df')).json() as {
        BuildCache: { InUse: boolean }[];
      };
      expect(records.BuildCache.filter(({ InUse }) => InUse)).toEqual([]);
      await expectSoundCache();
    },
  );
});

describe.skipIf(missing !== undefined)(`a full disk${missing ? ` (skipped: ${missing})` : ''}`, () => {
  test(
    'ends the build with words; what was there stays, and space that comes back is used',
    { timeout: 120_000 },
    async () => {
      const disk = await mkdtemp(join(tmpdir(), 'disk-'));
      await run('mount', ['-t', 'tmpfs', '-o', 'size=96m', 'tmpfs', disk], {});
      try {
        await using here = await startBuildLab({ flags: ['--data-root', join(disk, 'data')] });
        const sound = { Dockerfile: 'FROM busybox\nRUN echo sound > /s\n' };
        await here.built(sound);
        const running = await here.build({
          Dockerfile: 'FROM busybox\nRUN dd if=/dev/urandom of=/big bs=1M count=200\n',
        });
        expect(running.code).toBe(1);
        expect(running.stderr).toMatch(/No space left on device|ENOSPC/);
        const big = Buffer.alloc(60 * 1024 * 1024, 1);
        for (let i = 0; i < big.length; i += 4096) big.writeUInt32LE(Math.imul(i, 2654435761) >>> 0, i);
        const copying = await here.build({
          Dockerfile: 'FROM busybox\nCOPY big /big\nCOPY big /again\n',
          big,
        });
        expect(copying.code).toBe(1);
        expect(copying.stderr).toMatch(/no space left|ENOSPC/i);
        expect(await readdir(join(disk, 'data/builder/contexts'))).toEqual([]);
        expect(await readdir(join(disk, 'data/builder/mounts'))).toEqual([]);
        expect((await here.built(sound)).match(/CACHED/g)).toHaveLength(1);
        await here.built({ Dockerfile: 'FROM busybox\nRUN dd if=/dev/urandom of=/fits bs=1M count=10\n' });
      } finally {
        await run('umount', ['-l', disk], {});
        await rm(disk, { recursive: true, force: true });
      }
    },
  );
});

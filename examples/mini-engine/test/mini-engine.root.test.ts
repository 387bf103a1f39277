/** The tutorial's program does what the tutorial says, with images of a registry on loopback. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bringUpLoopback } from '@tare/netdriver';
import { RegistryClient } from '@tare/registry-client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { COMPONENTS, componentPath } from '../../../test/lab/debian.ts';
import { busyboxLayer, pushImage } from '../../../test/lab/images.ts';
import { ownNetwork } from '../../../test/lab/leftovers.ts';
import { eventually, run, type Finished } from '../../../test/lab/process.ts';
import { startRegistry } from '../../registry/src/index.ts';

const main = join(import.meta.dirname, '..', 'src', 'main.ts');
const missing = whyNot();

function whyNot(): string | undefined {
  if (process.getuid?.() !== 0) return 'needs root';
  if (!ownNetwork()) return 'needs a network namespace of its own: npm test, or vitest under unshare --net';
  return componentPath(COMPONENTS.busybox) === undefined ? 'needs busybox' : undefined;
}

describe.skipIf(missing !== undefined)(`the mini engine${missing ? ` (skipped: ${missing})` : ''}`, () => {
  const stack = new AsyncDisposableStack();
  let root: string;
  let image: string;
  beforeAll(async () => {
    await bringUpLoopback('/proc/self/ns/net');
    root = await mkdtemp(join(tmpdir(), 'mini-'));
    stack.defer(() => rm(root, { recursive: true, force: true }));
    const registry = stack.use(
      await startRegistry({ root: join(root, 'registry'), host: '127.0.0.1', port: 0 }),
    );
    image = `${new URL(registry.url).host}/busybox`;
    const client = stack.use(new RegistryClient());
    await pushImage(client.repository(image), 'latest', {
      layers: [await busyboxLayer(componentPath(COMPONENTS.busybox)!)],
      config: {
        Cmd: ['sh', '-c', 'echo default command in $PWD'],
        WorkingDir: '/etc',
        Env: ['PATH=/usr/sbin:/usr/bin:/sbin:/bin'],
      },
    });
  });
  afterAll(() => stack.disposeAsync());

  const words = (args: readonly string[]): string[] => ['--conditions=@tare/source', main, ...args];
  const env = () => ({ ...process.env, MINI_ROOT: join(root, 'data') });
  const mini = (...args: string[]): Promise<Finished> => run(process.execPath, words(args), { env: env() });

  it('has at most a hundred lines', () => {
    expect(readFileSync(main, 'utf8').trimEnd().split('\n').length).toBeLessThanOrEqual(100);
  });

  it('pulls an image, once', async () => {
    const first = await mini('pull', image);
    expect([first.code, first.stdout]).toEqual([0, expect.stringMatching(/^sha256:[0-9a-f]{64}\n$/)]);
    expect((await mini('pull', image)).stdout).toBe(first.stdout);
  });

  it('runs what the image says, or what it is told, isolated and connected', async () => {
    const { stdout, code } = await mini('run', image);
    expect([stdout, code]).toEqual(['default command in /etc\n', 0]);
    const told = await mini(
      'run',
      image,
      'sh',
      '-c',
      'hostname; echo $$; ip -o -4 address show | wc -l; exit 7',
    );
    expect(told.stdout).toMatch(/^mini-\d+\n1\n2\n$/);
    expect(told.code).toBe(7);
  });

  it('publishes a port, lists what runs, and stops it', async () => {
    const serve =
      'trap "exit 9" TERM; mkdir /w; echo hello > /w/index.html; httpd -p 80 -h /w; while :; do sleep 0.1; done';
    const child = spawn(process.execPath, words(['run', '-p', '18080:80', image, 'sh', '-c', serve]), {
      env: env(),
      stdio: 'ignore',
    });
    const page = await eventually('the page is there', () =>
      fetch('http://127.0.0.1:18080/').then(
        (answer) => answer.text(),
        () => undefined,
      ),
    );
    const ended = once(child, 'exit');
    try {
      expect(page).toBe('hello\n');
      const listed = await mini('ps');
      expect(listed.stdout, listed.stderr).toMatch(new RegExp(`^mini-${child.pid} running \\d+\n$`));
    } finally {
      await mini('stop', `mini-${child.pid}`);
    }
    expect(await ended).toEqual([9, null]);
    expect((await mini('ps')).stdout).toBe('');
  });

  it(
    'stops what does not listen, and says what it can do to who does not know',
    { timeout: 30_000 },
    async () => {
      const child = spawn(process.execPath, words(['run', image, 'sleep', '1000']), {
        env: env(),
        stdio: 'ignore',
      });
      const ended = once(child, 'exit');
      await eventually(
        'the container runs',
        async () => (await mini('ps')).stdout.includes('running') || undefined,
      );
      expect((await mini('stop', `mini-${child.pid}`)).code).toBe(0);
      expect(await ended).toEqual([137, null]);
      for (const words of [[], ['run'], ['stop'], ['pull']]) {
        const { stderr, code } = await mini(...words);
        expect(stderr).toMatch(/^mini-engine: pull IMAGE \| run .*\n$/);
        expect(code).toBe(1);
      }
    },
  );
});

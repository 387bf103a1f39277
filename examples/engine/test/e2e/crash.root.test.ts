/** The daemon dies, by kill -9 or politely; containers, logs, ports and exit codes do not. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { eventually } from '../../../../test/lab/process.ts';
import { freePort } from '../../../../test/lab/registry.ts';
import { missingForEndToEnd, startLab, type Lab } from './lab.ts';

const missing = missingForEndToEnd();

describe.skipIf(missing !== undefined)(`a daemon that dies${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await startLab();
  });
  afterAll(() => lab?.[Symbol.asyncDispose]());

  test.for(['SIGKILL', 'SIGTERM'] as const)(
    'after %s a running container goes on and is found again',
    async (signal) => {
      const port = await freePort();
      await lab.ok(['run', '-d', '--name', 'steady', '-p', `${port}:80`, lab.busybox, 'sh', '-c',
      'echo page > /index.html; httpd -p 80 -h /; i=0; while :; do echo tick $i; i=$((i+1)); sleep 0.05; done']); // prettier-ignore
      const pid = await lab.ok(['inspect', '-f', '{{.State.Pid}}', 'steady']);
      await eventually('first ticks', async () =>
        (await lab.ok(['logs', 'steady'])).includes('tick 3') ? true : undefined,
      );
      await lab.restartDaemon(signal);
      expect(await lab.ok(['inspect', '-f', '{{.State.Status}} {{.State.Pid}}', 'steady'])).toBe(
        `running ${pid}`,
      );
      const ticks = await eventually('later ticks', async () => {
        const lines = (await lab.ok(['logs', 'steady'])).split('\n');
        return lines.length > 20 ? lines : undefined;
      });
      // not one line lost while nobody was there
      expect(ticks).toEqual(ticks.map((_, index) => `tick ${index}`));
      expect(await (await fetch(`http://127.0.0.1:${port}/`)).text()).toBe('page\n');
      expect(await lab.ok(['exec', 'steady', 'echo', 'still here'])).toBe('still here');
      await lab.ok(['stop', '-t', '0', 'steady']);
      expect(await lab.ok(['inspect', '-f', '{{.State.Status}} {{.State.ExitCode}}', 'steady'])).toBe(
        'exited 137',
      );
      await lab.ok(['rm', 'steady']);
    },
  );

  test('a container that ended while no daemon was there has its exit code and its last words', async () => {
    await lab.ok([
      'run',
      '-d',
      '--name',
      'orphan',
      lab.busybox,
      'sh',
      '-c',
      'sleep 0.5; echo last words; exit 42',
    ]);
    const pid = Number(await lab.ok(['inspect', '-f', '{{.State.Pid}}', 'orphan']));
    await lab.daemon.stop('SIGKILL');
    await eventually('the container ends', async () => (alive(pid) ? undefined : true));
    await lab.restartDaemon('SIGKILL');
    expect(await lab.ok(['inspect', '-f', '{{.State.Status}} {{.State.ExitCode}}', 'orphan'])).toBe(
      'exited 42',
    );
    expect(await lab.ok(['logs', 'orphan'])).toBe('last words');
    await lab.ok(['rm', 'orphan']);
  });

  test('images, names and stopped containers survive', async () => {
    await lab.ok(['create', '--name', 'waiting', '-l', 'a=b', lab.busybox, 'echo', 'started late']);
    const images = await lab.ok(['images', '-q', '--no-trunc']);
    await lab.restartDaemon('SIGKILL');
    expect(await lab.ok(['images', '-q', '--no-trunc'])).toBe(images);
    expect(await lab.ok(['ps', '-a', '--filter', 'label=a=b', '--format', '{{.Names}} {{.Status}}'])).toBe(
      'waiting Created',
    );
    expect(await lab.ok(['start', '-a', 'waiting'])).toBe('started late');
    await lab.ok(['rm', 'waiting']);
  });

  test('a container with --rm that ended meanwhile is removed at the next start', async () => {
    await lab.ok(['run', '-d', '--rm', '--name', 'fleeting', lab.busybox, 'sleep', '0.3']);
    const pid = Number(await lab.ok(['inspect', '-f', '{{.State.Pid}}', 'fleeting']));
    await lab.daemon.stop('SIGKILL');
    await eventually('the container ends', async () => (alive(pid) ? undefined : true));
    await lab.restartDaemon('SIGKILL');
    await eventually('it is gone', async () => ((await lab.ok(['ps', '-aq'])) === '' ? true : undefined));
  });
});

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
    throw error;
  }
}

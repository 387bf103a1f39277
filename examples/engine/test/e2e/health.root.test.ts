/** Health checks, seen through the stock CLI. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { eventually } from '../../../../test/lab/process.ts';
import { missingForEndToEnd, startLab, type Lab } from './lab.ts';

const missing = missingForEndToEnd();

interface HealthJson {
  Status: string;
  FailingStreak: number;
  Log: { Start: string; End: string; ExitCode: number; Output: string }[];
}

describe.skipIf(missing !== undefined)(`health checks${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await startLab();
  });
  afterAll(() => lab?.[Symbol.asyncDispose]());

  const health = async (name: string): Promise<HealthJson> =>
    JSON.parse(await lab.ok(['inspect', '-f', '{{json .State.Health}}', name])) as HealthJson;
  const becomes = (name: string, status: string): Promise<HealthJson> =>
    eventually(`${name} is ${status}`, async () => {
      const now = await health(name);
      return now.Status === status ? now : undefined;
    });
  const checked = (name: string, check: string, ...flags: string[]): Promise<string> =>
    lab.ok([
      'run',
      '-d',
      '--name',
      name,
      '--health-interval=100ms',
      '--health-retries=2',
      `--health-cmd=${check}`,
      ...flags,
      lab.busybox,
      'sleep',
      '1000',
    ]);

  test('follow the answers of the command, and tell each change once', async () => {
    await checked('turns', 'echo looked; test -e /ok');
    expect(await lab.ok(['ps', '--filter', 'name=turns', '--format', '{{.Status}}'])).toMatch(
      /\((health: starting|unhealthy)\)$/,
    );
    const bad = await becomes('turns', 'unhealthy');
    expect(bad.FailingStreak).toBeGreaterThanOrEqual(2);
    expect(bad.Log.at(-1)).toMatchObject({ ExitCode: 1, Output: 'looked\n' });
    await lab.ok(['exec', 'turns', 'touch', '/ok']);
    expect((await becomes('turns', 'healthy')).FailingStreak).toBe(0);
    expect(await lab.ok(['ps', '--filter', 'health=healthy', '--format', '{{.Names}} {{.Status}}'])).toMatch(
      /^turns Up .*\(healthy\)$/,
    );
    const told = await lab.ok([
      'events',
      '--since=1h',
      // the CLI counts in whole seconds
      '--until=-1s',
      '--filter=container=turns',
      '--filter=event=health_status',
      '--format={{.Action}}',
    ]);
    expect(told.split('\n')).toEqual(['health_status: unhealthy', 'health_status: healthy']);
    expect((await health('turns')).Log.length).toBeLessThanOrEqual(5);
  });

  test('a check that takes too long is killed and has failed', async () => {
    await checked('slow', 'echo begun; sleep 987', '--health-timeout=200ms');
    const { Log } = await becomes('slow', 'unhealthy');
    expect(Log.at(-1)).toMatchObject({
      ExitCode: -1,
      Output: expect.stringMatching(/^Health check exceeded timeout \(200ms\)/) as unknown,
    });
    await lab.ok(['stop', '-t', '0', 'slow']);
  });

  test('a check whose background work holds its output open has answered when it ends', async () => {
    await checked('holds', 'sleep 986 & echo answered');
    expect((await becomes('holds', 'healthy')).Log.at(-1)).toMatchObject({
      ExitCode: 0,
      Output: 'answered\n',
    });
  });

  test('a check that cannot be run has failed', async () => {
    await checked('shellless', 'true');
    await becomes('shellless', 'healthy');
    await lab.ok(['exec', 'shellless', 'rm', '/bin/sh']);
    expect((await becomes('shellless', 'unhealthy')).Log.at(-1)).toMatchObject({
      ExitCode: -1,
      Output: expect.stringContaining('no such file or directory') as unknown,
    });
  });

  test('keeps 4,096 bytes of an answer', async () => {
    await checked('long', 'yes | head -c 10000');
    const { Log } = await becomes('long', 'healthy');
    expect(Log[0]!.Output).toBe(`${'y\n'.repeat(2048)}...`);
  });

  test('goes on after the daemon was killed', async () => {
    await checked('survivor', 'test -e /ok');
    await becomes('survivor', 'unhealthy');
    await lab.restartDaemon('SIGKILL');
    expect((await health('survivor')).Status).toBe('unhealthy');
    await lab.ok(['exec', 'survivor', 'touch', '/ok']);
    await becomes('survivor', 'healthy');
    await lab.ok(['restart', '-t', '0', 'survivor']);
    await becomes('survivor', 'healthy');
    await lab.ok(['stop', '-t', '0', 'survivor']);
    expect((await health('survivor')).Status).toBe('unhealthy');
  });

  test('--no-healthcheck leaves nothing to show', async () => {
    await lab.ok(['run', '-d', '--name', 'plain', '--no-healthcheck', lab.busybox, 'sleep', '1000']);
    expect(await lab.ok(['inspect', '-f', '{{json .State}}', 'plain'])).not.toContain('Health');
    expect(await lab.ok(['ps', '--filter', 'health=none', '--format', '{{.Names}}'])).toContain('plain');
  });
});

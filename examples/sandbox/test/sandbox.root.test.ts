/** What the sandbox holds back. */
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';

import {
  describeContainers,
  leftovers,
  makeLab,
  type Lab,
} from '../../../packages/runtime-native/test/rootfs.ts';
import { runUntrusted, type Job } from '../src/sandbox.ts';

describeContainers('untrusted code', () => {
  let lab: Lab;
  beforeAll(() => {
    lab = makeLab();
  });
  afterEach(() => expect(leftovers(lab)).toEqual([]));
  afterAll(() => lab.dispose());

  const run = (code: string, job: Partial<Job> = {}): ReturnType<typeof runUntrusted> =>
    runUntrusted(lab.runtime, 'job', { code, language: 'shell', rootfs: lab.rootfs, ...job });

  it('runs, and its output and exit code come back with how soon it ran', async () => {
    const result = await run('echo out; echo err >&2; exit 3');
    expect(result).toMatchObject({ stdout: 'out\n', stderr: 'err\n', exitCode: 3, exceeded: undefined });
    expect(result.startMs).toBeGreaterThan(0);
    expect(result.startMs).toBeLessThan(result.tookMs);
  });

  it('may be JavaScript', async () => {
    const code = 'console.log(process.getuid(), require("node:os").networkInterfaces().eth0, 6 * 7)';
    const result = await run(code, { language: 'javascript', limits: { timeMs: 20_000, cpus: 1 } });
    expect(result).toMatchObject({ stdout: '65534 undefined 42\n', stderr: '', exitCode: 0 });
  });

  it('is nobody, can write nowhere but to /tmp, and has no network', async () => {
    const code =
      'id -u; grep CapEff /proc/self/status; echo x > /etc/x; echo x > /tmp/x && echo kept; ls /sys/class/net';
    const { stdout, stderr } = await run(code);
    expect(stdout).toBe('65534\nCapEff:\t0000000000000000\nkept\nlo\n');
    expect(stderr).toMatch(/Read-only|Permission denied/);
  });

  it('is ended when its time is up, with all its processes', async () => {
    const result = await run('echo begun; (while :; do :; done) & while :; do :; done', {
      limits: { timeMs: 300 },
    });
    expect(result).toMatchObject({ stdout: 'begun\n', exitCode: 137, exceeded: 'time' });
  });

  it('is ended when it takes more memory than it may', async () => {
    const result = await run('x=aaaaaaaa; while :; do x=$x$x; done', { limits: { memoryBytes: 16 << 20 } });
    expect(result).toMatchObject({ exitCode: 137, exceeded: 'memory' });
  });

  it('cannot make more processes than it may', async () => {
    const { stderr, exitCode } = await run(
      'i=0; while [ $i -lt 50 ]; do sleep 5 & i=$((i+1)); done; exit 0',
      {
        limits: { processes: 10 },
      },
    );
    expect(stderr).toContain("can't fork");
    expect(exitCode).not.toBe(0);
  });

  it('is ended when it says too much', async () => {
    const result = await run('yes', { limits: { outputBytes: 100_000 } });
    expect(result).toMatchObject({ exitCode: 137, exceeded: 'output' });
    expect(result.stdout.length).toBeLessThanOrEqual(100_000);
  });

  it('gets no more of the processors than its share', async () => {
    // processor time of the whole container, as its own clock ticks have it
    const code =
      '(while :; do :; done) & (while :; do :; done) & sleep 1; kill $!; kill -9 -1; awk "{ print \\$14 + \\$15 + \\$16 + \\$17 }" /proc/$$/stat';
    const spent = async (cpus: number): Promise<number> =>
      Number((await run(code, { limits: { cpus } })).stdout);
    expect(await spent(0.05)).toBeLessThan(40);
  });
});

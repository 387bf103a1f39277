/** The same engine through dockerode, as programs use it. */
import { PassThrough } from 'node:stream';
import Docker from 'dockerode';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { missingForEndToEnd, startLab, type Lab } from './lab.ts';

const missing = missingForEndToEnd();

describe.skipIf(missing !== undefined)(`dockerode${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let lab: Lab;
  let docker: Docker;
  beforeAll(async () => {
    lab = await startLab();
    docker = new Docker({ socketPath: lab.socketPath });
  });
  afterAll(() => lab?.[Symbol.asyncDispose]());

  test('pulls with progress', async () => {
    const stream = await docker.pull(`${lab.registry}fresh:latest`);
    const events = await new Promise<{ status: string }[]>((resolve, reject) =>
      docker.modem.followProgress(stream, (error, output) => (error ? reject(error) : resolve(output))),
    );
    expect(events.map(({ status }) => status)).toContain(
      `Status: Downloaded newer image for ${lab.registry}fresh:latest`,
    );
  });

  test('runs a container and demultiplexes its output', async () => {
    const stdout = new PassThrough();
    const stderr = new PassThrough();
    const [result, container] = await docker.run(
      lab.busybox,
      ['sh', '-c', 'echo out; echo err >&2; exit 4'],
      [stdout, stderr],
      { Tty: false },
    );
    expect(result.StatusCode).toBe(4);
    expect(String(stdout.read())).toBe('out\n');
    expect(String(stderr.read())).toBe('err\n');
    await container.remove();
  });

  test('creates, starts, executes, reads logs and stats, stops and removes', async () => {
    const container = await docker.createContainer({
      Image: lab.busybox,
      name: 'life',
      Cmd: ['sh', '-c', 'echo begun; sleep 300'],
      HostConfig: { Memory: 64 << 20 },
    });
    await container.start();
    const exec = await container.exec({ Cmd: ['cat'], AttachStdin: true, AttachStdout: true });
    const stream = await exec.start({ hijack: true, stdin: true });
    const output = new PassThrough();
    docker.modem.demuxStream(stream, output, output);
    stream.end('over exec');
    await new Promise((resolve) => stream.on('end', resolve));
    expect(String(output.read())).toBe('over exec');
    expect(await exec.inspect()).toMatchObject({ Running: false, ExitCode: 0 });
    expect((await container.logs({ stdout: true, tail: 10 })).toString('utf8')).toContain('begun');
    const stats = await container.stats({ stream: false });
    expect(stats.memory_stats.limit).toBe(64 << 20);
    expect(stats.pids_stats?.current).toBeGreaterThan(0);
    await container.stop({ t: 0 });
    await expect(container.stop()).rejects.toMatchObject({ statusCode: 304 });
    await container.remove();
    await expect(container.inspect()).rejects.toMatchObject({ statusCode: 404 });
  });

  test('tells events in order', async () => {
    const since = Math.floor(Date.now() / 1000) - 1;
    const container = await docker.createContainer({ Image: lab.busybox, Cmd: ['true'] });
    await container.start();
    await container.wait();
    await container.remove();
    const stream = await docker.getEvents({
      since,
      until: Math.ceil(Date.now() / 1000) + 1,
      filters: { container: [container.id] },
    });
    const text = Buffer.concat(await Array.fromAsync(stream as AsyncIterable<Buffer>)).toString('utf8');
    const actions = text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
      .filter(({ Type }) => Type === 'container')
      .map(({ Action }) => Action);
    expect(actions).toEqual(['create', 'start', 'die', 'destroy']);
  });
});

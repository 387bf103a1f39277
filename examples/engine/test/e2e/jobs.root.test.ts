/** The engine's own record of its work: Jobs and their steps, metrics, and events that outlive it. */
import { once } from 'node:events';
import { request } from 'node:http';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { eventually } from '../../../../test/lab/process.ts';
import { freePort } from '../../../../test/lab/registry.ts';
import { missingForEndToEnd, startLab, type Lab } from './lab.ts';

const missing = missingForEndToEnd();

interface Job {
  Id: string;
  Kind: string;
  Subject: string;
  State: string;
  ParentId: string;
}

describe.skipIf(missing !== undefined)(`jobs${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let lab: Lab;
  let metricsPort: number;
  beforeAll(async () => {
    metricsPort = await freePort();
    lab = await startLab({ flags: ['--metrics-addr', `127.0.0.1:${metricsPort}`] });
  });
  afterAll(() => lab?.[Symbol.asyncDispose]());

  const jobs = async (): Promise<Job[]> => (await lab.api('GET', '/jobs?all=1')).json() as Job[];

  test('a start has its steps below it, a pull its own', async () => {
    const id = await lab.ok(['run', '-d', lab.busybox, 'sleep', '60']);
    const list = await jobs();
    const start = list.find(
      ({ Kind: kind, Subject: subject }) => kind === 'container.start' && subject === id,
    )!;
    const steps = list.filter(({ ParentId: parent }) => parent === start.Id).map(({ Kind: kind }) => kind);
    expect(steps.sort()).toEqual([
      'container.start.mounts',
      'container.start.network',
      'container.start.process',
      'container.start.runtime',
      'container.start.sandbox',
    ]);
    const pull = list.find(({ Kind: kind }) => kind === 'image.pull')!;
    expect(list.filter(({ ParentId: parent }) => parent === pull.Id).map(({ Kind: kind }) => kind)).toContain(
      'image.pull.download',
    );
    const tree = await lab.tare(['jobs', '-a', '--tree', '--format', '{{.Kind}}']);
    expect(tree.stdout).toMatch(/^container\.start\n {2}container\.start\./m);
  });

  test('a client that goes away cancels a pull, and not a stop', async () => {
    const gone = async (path: string): Promise<void> => {
      const sent = request({ socketPath: lab.socketPath, method: 'POST', path }).end();
      sent.on('error', () => undefined);
      await once(sent, 'socket');
      await new Promise((resolve) => setTimeout(resolve, 150));
      sent.destroy();
    };
    // an address of documentation: nobody answers, and nobody refuses
    await gone('/images/create?fromImage=192.0.2.1:5000/x&tag=latest');
    await eventually('the pull ends', async () => {
      const pull = (await jobs()).find(({ Subject: subject }) => subject === '192.0.2.1:5000/x:latest');
      return pull && pull.State !== 'running' ? true : undefined;
    });
    const id = await lab.ok(['run', '-d', lab.busybox, 'sleep', '60']);
    await gone(`/containers/${id}/stop?t=1`);
    await eventually('the container stops', async () =>
      (await lab.ok(['inspect', '-f', '{{.State.Status}}', id])) === 'exited' ? true : undefined,
    );
  });

  test('metrics are served with the API and on an address of their own', async () => {
    const { body, headers } = await lab.api('GET', '/metrics');
    expect(headers['content-type']).toContain('text/plain');
    const own = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text();
    for (const text of [body.toString(), own]) {
      expect(text).toMatch(/^tare_job_seconds_count\{kind="container\.start",state="succeeded"\} [1-9]/m);
      expect(text).toMatch(/^engine_daemon_events_total\{type="container",action="start"\} [1-9]/m);
    }
    expect((await fetch(`http://127.0.0.1:${metricsPort}/info`)).status).toBe(404);
  });

  test.for(['SIGTERM', 'SIGKILL'] as const)('events are still known after %s', async (signal) => {
    const name = `before-${signal.toLowerCase()}`;
    await lab.ok(['volume', 'create', name]);
    await lab.restartDaemon(signal);
    await lab.ok(['volume', 'rm', name]);
    const until = (Date.now() / 1000 + 0.5).toFixed(3);
    const filters = JSON.stringify({ volume: [name] });
    const { body } = await lab.api(
      'GET',
      `/events?since=1&until=${until}&filters=${encodeURIComponent(filters)}`,
    );
    const actions = body
      .toString()
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { Action: string }).Action);
    expect(actions).toEqual(['create', 'destroy']);
  });
});

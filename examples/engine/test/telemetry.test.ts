import { context, trace } from '@opentelemetry/api';
import { InMemorySpanExporter, NodeTracerProvider, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-node';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EventBus } from '../src/events/event-bus.ts';
import { step } from '../src/jobs/current.ts';
import { JobQueue } from '../src/jobs/job-queue.ts';
import { Metrics } from '../src/telemetry/metrics.ts';
import { traced } from '../src/telemetry/traces.ts';

describe('steps', () => {
  it('are Jobs below the one that does them, however deep, and tell how it went', async () => {
    const jobs = new JobQueue();
    const failing = jobs.run(
      'container.start',
      () =>
        step('network', async () => {
          await step('address', () => Promise.resolve());
          throw new Error('no cable');
        }),
      { subject: 'abc' },
    );
    await expect(failing).rejects.toThrow('no cable');
    const list = jobs.list();
    const by = (kind: string) => list.find((job) => job.kind === kind)!;
    const start = by('container.start');
    expect(by('container.start.network')).toMatchObject({
      parentId: start.id,
      subject: 'abc',
      state: 'failed',
      error: 'no cable',
    });
    expect(by('container.start.network.address')).toMatchObject({
      parentId: by('container.start.network').id,
      state: 'succeeded',
    });
  });

  it('at the same time belong to their own Job each', async () => {
    const jobs = new JobQueue();
    const work = (name: string) =>
      jobs.run(name, async () => {
        await Promise.resolve();
        await step('x', () => new Promise((resolve) => setTimeout(resolve, 5)));
      });
    await Promise.all([work('a'), work('b')]);
    const list = jobs.list();
    for (const name of ['a', 'b']) {
      expect(list.find(({ kind }) => kind === `${name}.x`)?.parentId).toBe(
        list.find(({ kind }) => kind === name)?.id,
      );
    }
  });

  it('are cancelled with it', async () => {
    const jobs = new JobQueue();
    const { promise: begun, resolve } = Promise.withResolvers<void>();
    const running = jobs.run('pull', () =>
      step('download', async () => {
        resolve();
        const current = jobs.list().find(({ kind }) => kind === 'pull.download')!;
        expect(current.state).toBe('running');
        await new Promise((_resolve, reject) => setTimeout(() => reject(new Error('broken off')), 30));
      }),
    );
    running.catch(() => undefined);
    await begun;
    await jobs.cancel(jobs.list().find(({ kind }) => kind === 'pull')!.id);
    expect(jobs.list().map(({ state }) => state)).toEqual(['cancelled', 'cancelled']);
  });

  it('outside a Job, and after its end, are just done', async () => {
    expect(await step('x', () => Promise.resolve(7))).toBe(7);
    const jobs = new JobQueue();
    let later: (() => Promise<number>) | undefined;
    await jobs.run('short', () => {
      const { promise, resolve } = Promise.withResolvers<void>();
      const rest = promise.then(() => step('late', () => Promise.resolve(8)));
      later = () => {
        resolve();
        return rest;
      };
    });
    expect(await later!()).toBe(8);
    expect(jobs.list().map(({ kind }) => kind)).toEqual(['short']);
  });
});

describe('traces', () => {
  const exporter = new InMemorySpanExporter();
  const provider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
  beforeEach(() => provider.register());
  afterEach(() => {
    trace.disable();
    context.disable();
    exporter.reset();
  });

  it('have a span for each Job, with its steps below it and what went wrong', async () => {
    const jobs = new JobQueue({ around: traced });
    await jobs
      .run('image.pull', () => step('resolve', () => Promise.reject(new Error('no such host'))), {
        subject: 'x:1',
      })
      .catch(() => undefined);
    const [resolve, pull] = exporter.getFinishedSpans();
    expect([pull?.name, resolve?.name]).toEqual(['image.pull', 'image.pull.resolve']);
    expect(resolve?.parentSpanContext?.spanId).toBe(pull?.spanContext().spanId);
    expect(pull?.attributes).toMatchObject({ 'tare.job.subject': 'x:1', 'tare.job.state': 'failed' });
    expect(resolve?.status.message).toBe('no such host');
    expect(resolve?.events[0]?.name).toBe('exception');
  });
});

describe('metrics', () => {
  it('count Jobs, their steps, events and containers', async () => {
    const metrics = new Metrics();
    metrics.add({
      version: '1',
      architecture: 'amd64',
      containers: () => ({ running: 2, paused: 0, stopped: 5 }),
    });
    const events = new EventBus({ observer: (event) => metrics.event(event) });
    const jobs = new JobQueue({ observers: [metrics] });
    await jobs.run('container.start', () => step('network', () => Promise.resolve()));
    await jobs.run('container.start', () => Promise.reject(new Error('x'))).catch(() => undefined);
    const { promise, resolve } = Promise.withResolvers<void>();
    const running = jobs.run('image.pull', () => promise);
    events.publish({ type: 'container', action: 'exec_start: rm -rf /', id: 'x' });
    const { text, contentType } = await metrics.render();
    resolve();
    await running;
    expect(contentType).toContain('text/plain; version=0.0.4');
    const lines = text.split('\n');
    expect(lines).toEqual(
      expect.arrayContaining([
        'tare_job_seconds_count{kind="container.start",state="succeeded"} 1',
        'tare_job_seconds_count{kind="container.start",state="failed"} 1',
        'tare_job_step_seconds_count{kind="container.start.network",state="succeeded"} 1',
        'tare_jobs_running{kind="image.pull"} 1',
        'engine_daemon_events_total{type="container",action="exec_start"} 1',
        'engine_daemon_container_states_containers{state="running"} 2',
        'engine_daemon_container_states_containers{state="stopped"} 5',
        'engine_daemon_engine_info{version="1",architecture="amd64",os="linux"} 1',
      ]),
    );
    expect(text).toContain('process_resident_memory_bytes');
  });
});

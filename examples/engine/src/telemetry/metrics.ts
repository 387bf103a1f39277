/** What the engine counts, in Prometheus's format; under dockerd's names where it counts the same. */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';

import type { EngineEvent } from '../events/event-bus.ts';
import type { JobObserver, JobRecord } from '../jobs/job-queue.ts';

/** What is asked when metrics are read. */
export interface MetricsSources {
  version: string;
  architecture: string;
  /** How many containers there are. */
  containers(): { running: number; paused: number; stopped: number };
}

/** From what a stop of the process takes to a pull of gigabytes. */
const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];

/** Counts Jobs and events; rendered on request. */
export class Metrics implements JobObserver {
  readonly #registry = new Registry();
  readonly #running: Gauge<'kind'>;
  readonly #seconds: Histogram<'kind' | 'state'>;
  readonly #stepSeconds: Histogram<'kind' | 'state'>;
  readonly #events: Counter<'type' | 'action'>;
  #read = false;

  constructor() {
    const registers = [this.#registry];
    this.#running = new Gauge({
      name: 'tare_jobs_running',
      help: 'Jobs that are under way, their steps not counted',
      labelNames: ['kind'],
      registers,
    });
    this.#seconds = new Histogram({
      name: 'tare_job_seconds',
      help: 'How long Jobs took',
      labelNames: ['kind', 'state'],
      buckets: SECONDS,
      registers,
    });
    this.#stepSeconds = new Histogram({
      name: 'tare_job_step_seconds',
      help: 'How long the steps of Jobs took',
      labelNames: ['kind', 'state'],
      buckets: SECONDS,
      registers,
    });
    this.#events = new Counter({
      name: 'engine_daemon_events_total',
      help: 'The number of events logged',
      labelNames: ['type', 'action'],
      registers,
    });
  }

  started({ kind, parentId }: JobRecord): void {
    if (parentId === undefined) this.#running.inc({ kind });
  }

  ended({ kind, parentId, state, startedAt, finishedAt }: JobRecord): void {
    const seconds = (finishedAt!.getTime() - startedAt.getTime()) / 1000;
    if (parentId === undefined) this.#running.dec({ kind });
    (parentId === undefined ? this.#seconds : this.#stepSeconds).observe({ kind, state }, seconds);
  }

  /** Counts an event. Suffixes of actions, which are commands, are left out. */
  event({ type, action }: EngineEvent): void {
    this.#events.inc({ type, action: action.split(':')[0]! });
  }

  /** Adds what is looked up when metrics are read. Called once. */
  add(sources: MetricsSources): void {
    const registers = [this.#registry];
    const states = new Gauge({
      name: 'engine_daemon_container_states_containers',
      help: 'The count of containers in various states',
      labelNames: ['state'],
      registers,
      collect() {
        for (const [state, count] of Object.entries(sources.containers())) this.set({ state }, count);
      },
    });
    states.reset();
    new Gauge({
      name: 'engine_daemon_engine_info',
      help: 'The information related to the engine and the OS it is running on',
      labelNames: ['version', 'architecture', 'os'],
      registers,
    }).set({ version: sources.version, architecture: sources.architecture, os: 'linux' }, 1);
  }

  /** The text, and what it is. */
  async render(): Promise<{ contentType: string; text: string }> {
    // those of the process wake it up many times a second, so only an engine whose metrics are read has them
    if (!this.#read) collectDefaultMetrics({ register: this.#registry, eventLoopMonitoringPrecision: 100 });
    this.#read = true;
    return { contentType: this.#registry.contentType, text: await this.#registry.metrics() };
  }
}

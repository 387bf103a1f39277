/** Runs the health checks of running containers, each on a timer of its own. */
import { messageOf } from '../errors.ts';
import { formatDuration, formatTime, nowNs } from '../time.ts';
import type { Execs } from './exec.ts';
import {
  afterProbe,
  healthPlan,
  nextProbeMs,
  PROBE_OUTPUT_BYTES,
  type HealthProbe,
  type HealthPlan,
} from './health.ts';
import type { LiveContainer } from './store.ts';
import type { ContainerWorld } from './world.ts';

/** Disposing of it ends all checks; the containers go on. */
export class HealthMonitor implements AsyncDisposable {
  readonly #world: ContainerWorld;
  readonly #execs: Execs;
  readonly #watches = new Map<LiveContainer, { controller: AbortController; done: Promise<void> }>();

  constructor(world: ContainerWorld, execs: Execs) {
    this.#world = world;
    this.#execs = execs;
  }

  /** Checks a container that runs, until {@link end}. One without a check is left alone. */
  begin(container: LiveContainer): void {
    const plan = healthPlan(container.record.config);
    if (!plan || !container.state.health) return;
    const controller = new AbortController();
    const done = this.#watch(container, plan, controller.signal).catch((error: unknown) => {
      if (controller.signal.aborted) return;
      this.#world.log.error(
        { err: error, container: container.id },
        `container ${container.id}: its health is not checked any more: ${messageOf(error)}`,
      );
    });
    this.#watches.set(container, { controller, done });
  }

  /** Checks a container that has ended no more: it counts as unhealthy, as clients of dockerd know it. */
  end(container: LiveContainer): void {
    this.#watches.get(container)?.controller.abort();
    this.#watches.delete(container);
    if (container.state.health) container.state.health.status = 'unhealthy';
  }

  async #watch(container: LiveContainer, plan: HealthPlan, signal: AbortSignal): Promise<void> {
    const { state } = container;
    const runsForMs = (): number => Date.now() - Date.parse(state.startedAt!);
    while (!signal.aborted) {
      await elapsed(nextProbeMs(plan, state.health!, runsForMs()), signal);
      // a process that is frozen cannot answer, and that says nothing about its health
      if (signal.aborted || state.paused) continue;
      const began = runsForMs();
      const probe = await this.#probe(container, plan, signal);
      if (signal.aborted || state.paused) continue;
      const before = state.health!;
      const health = afterProbe(before, probe, plan, began);
      state.health = health;
      this.#world.store.saveState(container);
      if (health.status !== before.status) {
        this.#world.store.publish(container, `health_status: ${health.status}`);
      }
    }
  }

  async #probe(container: LiveContainer, plan: HealthPlan, signal: AbortSignal): Promise<HealthProbe> {
    const start = formatTime(nowNs());
    const ended = (exitCode: number, output: string): HealthProbe => ({
      start,
      end: formatTime(nowNs()),
      exitCode,
      output,
    });
    try {
      const { exitCode, output, timedOut } = await this.#execs.capture(
        container,
        { Cmd: plan.args },
        { timeoutMs: plan.timeoutMs, limitBytes: PROBE_OUTPUT_BYTES, signal },
      );
      if (!timedOut) return ended(exitCode, output);
      return ended(
        -1,
        `Health check exceeded timeout (${formatDuration(plan.timeoutMs)})${output && `: ${output}`}`,
      );
    } catch (error) {
      // a check that cannot be run has failed; why is its answer
      return ended(-1, messageOf(error));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const watches = [...this.#watches.values()];
    this.#watches.clear();
    for (const { controller } of watches) controller.abort();
    await Promise.all(watches.map(({ done }) => done));
  }
}

/** Resolves after a time, or as soon as `signal` aborts. Keeps no process alive. */
function elapsed(ms: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(finish, ms).unref();
  signal.addEventListener('abort', finish, { once: true });
  function finish(): void {
    clearTimeout(timer);
    signal.removeEventListener('abort', finish);
    resolve();
  }
  if (signal.aborted) finish();
  return promise;
}

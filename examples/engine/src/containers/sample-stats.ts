/** `docker stats`: samples of a container's resources, one a second. */
import { readFileSync } from 'node:fs';

import { systemError } from '../errors.ts';
import { renderStats, takeSample, type StatsSample } from './stats.ts';
import type { LiveContainer } from './store.ts';
import type { ContainerWorld } from './world.ts';

/** Docker's clients compute rates over this time. */
const INTERVAL_MS = 1000;

/** `stream`: for ever; `pair`: one sample with the one before it; `single`: one sample, at once. */
export type StatsMode = 'stream' | 'pair' | 'single';

/** Rendered samples, until `signal` aborts or the container ends; an empty one for one that does not run. */
export async function* sampleStats(
  world: ContainerWorld,
  container: LiveContainer,
  mode: StatsMode,
  signal: AbortSignal,
): AsyncGenerator<unknown> {
  const context = { memoryTotalBytes: memoryTotal(), cgroupVersion: world.cgroupVersion };
  const render = (sample?: StatsSample, previous?: StatsSample): unknown =>
    renderStats(container, sample, previous, context);
  let previous = await sampleNow(container);
  if (!previous || mode !== 'pair') yield render(previous);
  if (!previous || mode === 'single') return;
  for (;;) {
    await delay(INTERVAL_MS, signal);
    if (signal.aborted) return;
    const sample = await sampleNow(container);
    yield render(sample, sample && previous);
    if (!sample || mode === 'pair') return;
    previous = sample;
  }
}

async function sampleNow({ handle, state, record }: LiveContainer): Promise<StatsSample | undefined> {
  if (!handle || !state.running || state.restarting) return undefined;
  const mode = record.hostConfig.NetworkMode ?? '';
  return takeSample(await handle.stats(), state.pid, mode !== 'host' && mode !== 'none');
}

function memoryTotal(): bigint {
  const match = /^MemTotal:\s+(\d+) kB/m.exec(readFileSync('/proc/meminfo', 'utf8'));
  if (!match) throw systemError('/proc/meminfo has no MemTotal');
  return BigInt(match[1]!) * 1024n;
}

/** Resolves after `ms`, or when `signal` aborts. */
function delay(ms: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const settle = (): void => {
    clearTimeout(timer);
    signal.removeEventListener('abort', settle);
    resolve();
  };
  const timer = setTimeout(settle, ms);
  signal.addEventListener('abort', settle, { once: true });
  return promise;
}

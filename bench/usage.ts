/** What a process took, for scenarios that measure more than time. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { setInterval } from 'node:timers/promises';
import { rest } from './rest.ts';

/** Seconds of processor and megabytes of memory. */
export interface Usage {
  wallMs: number;
  cpuSeconds: number;
  peakRssMb: number;
}

/** Clock ticks per second in /proc; Linux has shown 100 on every architecture for decades. */
const TICKS = 100;

/** Processor seconds of a process so far, with those of its children that have ended. */
export function cpuSecondsOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) / TICKS;
}

/** The most memory that a process ever had resident. */
export function peakRssMbOf(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'latin1');
  return Number(/^VmHWM:\s+(\d+)/m.exec(status)?.[1] ?? 0) / 1024;
}

/**
 * Runs a command to its end. It counts itself with its children; with `daemon`, the pid of what does the work for it,
 * that is counted in its place.
 *
 * @throws {Error} with what it printed when it fails
 */
export async function measure(
  command: readonly string[],
  options: { env?: NodeJS.ProcessEnv; daemon?: number | undefined } = {},
): Promise<Usage> {
  const { env, daemon } = options;
  await rest();
  const before = daemon === undefined ? 0 : cpuSecondsOf(daemon);
  const began = performance.now();
  // `times` tells what the children of the shell took
  const child = spawn('bash', ['-c', '"$@" || exit; echo; times', 'bash', ...command], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => (output += text));
  const ended = once(child, 'close') as Promise<[number | null]>;
  const watch = new AbortController();
  const peak = daemon === undefined ? watchChildren(child.pid!, watch.signal) : Promise.resolve(0);
  const [code] = await ended;
  const wallMs = performance.now() - began;
  watch.abort();
  if (code !== 0) throw new Error(`${command.join(' ')} failed:\n${output}`);
  if (daemon !== undefined) {
    return { wallMs, cpuSeconds: cpuSecondsOf(daemon) - before, peakRssMb: peakRssMbOf(daemon) };
  }
  return { wallMs, cpuSeconds: ownTimes(output), peakRssMb: await peak };
}

/** The last line that bash's `times` prints: user and system time of its children. */
function ownTimes(output: string): number {
  const found = [...output.matchAll(/(\d+)m([\d.]+)s (\d+)m([\d.]+)s/g)].at(-1)!.map(Number);
  return found[1]! * 60 + found[2]! + found[3]! * 60 + found[4]!;
}

async function watchChildren(shell: number, signal: AbortSignal): Promise<number> {
  let peak = 0;
  try {
    for await (const _ of setInterval(20, undefined, { signal })) {
      try {
        const children = readFileSync(`/proc/${shell}/task/${shell}/children`, 'latin1').trim();
        for (const pid of children.split(' ').filter(Boolean))
          peak = Math.max(peak, peakRssMbOf(Number(pid)));
      } catch {
        // ended between two looks
      }
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  }
  return peak;
}

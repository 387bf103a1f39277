/** Tables of what contestants took: time, processor, memory, each beside ours. */
import type { Bench } from './scenario.ts';
import type { Usage } from './usage.ts';

/** Usages by contestant, in order of their first; ours comes first. */
export class UsageTable {
  readonly #usages = new Map<string, Usage[]>();

  add(name: string, usage: Usage): void {
    this.#usages.set(name, [...(this.#usages.get(name) ?? []), usage]);
  }

  /** Writes the medians, and ours against theirs. */
  report(bench: Bench, title: string): void {
    const rows = [...this.#usages].map(([name, usages]) => ({
      name,
      wallMs: median(usages.map(({ wallMs }) => wallMs)),
      cpuSeconds: median(usages.map(({ cpuSeconds }) => cpuSeconds)),
      peakRssMb: median(usages.map(({ peakRssMb }) => peakRssMb)),
    }));
    const ours = rows[0];
    if (ours === undefined) return;
    bench.table(
      title,
      ['', 'wall ms', 'CPU s', 'peak RSS MB', 'ours / theirs (wall)', 'ours / theirs (CPU)'],
      rows.map(({ name, wallMs, cpuSeconds, peakRssMb }) => [
        name,
        wallMs.toFixed(0),
        cpuSeconds.toFixed(2),
        peakRssMb.toFixed(0),
        (ours.wallMs / wallMs).toFixed(2),
        (ours.cpuSeconds / cpuSeconds).toFixed(2),
      ]),
    );
  }
}

function median(numbers: number[]): number {
  return numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)]!;
}

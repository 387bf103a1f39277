/** What a scenario of the bench is, and the measuring itself: contestants take turns in every round. */
import { rest } from './rest.ts';

/** One way of doing the thing that is measured. */
export interface Contestant {
  /** With its version: `crun 1.8.1`. */
  name: string;
  /**
   * Does it once. What it takes from call to end counts, unless it times the part that matters itself and returns that,
   * in milliseconds.
   */
  once(): Promise<number | void> | number | void;
}

/** What a scenario measures with and reports to. */
export interface Bench {
  /** Rounds asked for on the command line; a scenario may scale it down for what takes seconds. */
  readonly rounds: number;
  /** Disposed, last in first out, when the scenario ends: daemons, folders, namespaces. */
  readonly stack: AsyncDisposableStack;
  /**
   * Lets every contestant do its work once unmeasured, then once in each round, one after the other, so that a machine
   * whose speed drifts slows all alike. The first contestant is ours: ratios are ours / theirs.
   */
  compare(title: string, contestants: Contestant[], options?: { rounds?: number }): Promise<Comparison>;
  /** A table of other figures: sizes, counts, slopes. */
  table(title: string, header: string[], rows: (string | number)[][]): void;
  /** A sentence below the last table: conditions, or what stands out. */
  note(text: string): void;
  /** A peer that is not here, with the reason and the package that has it. */
  absent(name: string, reason: string): void;
}

/** One file of `scenarios/`: its default subject of measurement. */
export interface Scenario {
  /** Heading of its part of RESULTS.md. */
  title: string;
  /** Fetches what comes from elsewhere: {@link run} has a network of its own, without a way out. */
  prepare?(): Promise<void>;
  run(bench: Bench): Promise<void>;
}

/** Percentiles of one contestant, milliseconds. */
export interface Timing {
  name: string;
  p10: number;
  median: number;
  p90: number;
}

export type Comparison = Timing[];

/** Measures and writes Markdown. */
export class MarkdownBench implements Bench {
  readonly rounds: number;
  readonly stack = new AsyncDisposableStack();
  readonly #lines: string[] = [];

  constructor(rounds: number) {
    this.rounds = rounds;
  }

  async compare(title: string, contestants: Contestant[], options: { rounds?: number } = {}) {
    const rounds = options.rounds ?? this.rounds;
    const samples = contestants.map((): number[] => []);
    for (const contestant of contestants) await timed(contestant); // pays for cold caches
    for (let round = 0; round < rounds; round++) {
      for (const [index, contestant] of contestants.entries()) {
        await rest();
        samples[index]!.push(await timed(contestant));
      }
      process.stderr.write(`\r${title}: round ${round + 1} of ${rounds}`);
    }
    process.stderr.write('\n');
    const timings = contestants.map(({ name }, index) => summary(name, samples[index]!));
    const ours = timings[0]!;
    // told at once: a later failure takes the results with it
    for (const { name, median } of timings) process.stderr.write(`  ${name}: ${figure(median)} ms\n`);
    this.table(
      `${title} (${rounds} rounds)`,
      ['', 'p10 ms', 'median ms', 'p90 ms', 'ours / theirs (p10)', 'ours / theirs (median)'],
      timings.map(({ name, p10, median, p90 }) => [
        name,
        figure(p10),
        figure(median),
        figure(p90),
        (ours.p10 / p10).toFixed(2),
        (ours.median / median).toFixed(2),
      ]),
    );
    return timings;
  }

  table(title: string, header: string[], rows: (string | number)[][]): void {
    const line = (cells: (string | number)[]) => `| ${cells.join(' | ')} |`;
    this.#lines.push(
      `### ${title}`,
      '',
      line(header),
      line(header.map((_, index) => (index === 0 ? '---' : '---:'))),
      ...rows.map(line),
      '',
    );
  }

  note(text: string): void {
    this.#lines.push(text, '');
  }

  absent(name: string, reason: string): void {
    process.stderr.write(`not measured: ${name}: ${reason}\n`);
    this.note(`Not measured: ${name}: ${reason}.`);
  }

  toString(): string {
    return this.#lines.join('\n');
  }
}

async function timed({ once }: Contestant): Promise<number> {
  const began = performance.now();
  const own = await once();
  return own ?? performance.now() - began;
}

function summary(name: string, samples: number[]): Timing {
  const sorted = samples.toSorted((a, b) => a - b);
  const at = (part: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))]!;
  return { name, p10: at(0.1), median: at(0.5), p90: at(0.9) };
}

/** Three significant digits below a hundred. */
function figure(milliseconds: number): string {
  return milliseconds >= 100 ? milliseconds.toFixed(0) : milliseconds.toPrecision(3);
}

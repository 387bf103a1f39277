/**
 * `npm run bench [-- scenario… --rounds N]`: measures the scenarios named (all, unless some are) beside their peers,
 * where those are installed. Each writes `results/<scenario>.md`; RESULTS.md puts them together, and the READMEs
 * have some of its numbers.
 */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import { updateReadmes } from './readme.ts';
import { MarkdownBench, type Scenario } from './scenario.ts';

const { values, positionals } = parseArgs({
  options: { rounds: { type: 'string', default: '20' } },
  allowPositionals: true,
});
const ISOLATED = 'TARE_BENCH_ISOLATED';
const results = join(import.meta.dirname, 'results');
const names = readdirSync(join(import.meta.dirname, 'scenarios'))
  .filter((file) => file.endsWith('.ts'))
  .map((file) => basename(file, '.ts'))
  .sort();

if (process.getuid?.() !== 0) fail('containers need root');
const unknown = positionals.filter((name) => !names.includes(name));
if (unknown.length > 0) fail(`no scenario ${unknown.join(', ')}; there are: ${names.join(', ')}`);
const chosen = positionals.length > 0 ? positionals : names;
if (process.env[ISOLATED] === undefined) {
  for (const name of chosen) await (await load(name)).prepare?.();
  // everything measured shares a network and mounts of its own, away from the machine's; /run is in memory, as systemd
  // and its like mount it: what runtimes keep there is not written to a disk
  const { status } = spawnSync(
    'unshare',
    [
      '--net',
      '--mount',
      '--',
      'sh',
      '-ec',
      'mount -t tmpfs tare-bench /run; exec "$@"',
      'sh',
      process.execPath,
      ...process.execArgv,
      import.meta.filename,
      ...process.argv.slice(2),
    ],
    { stdio: 'inherit', env: { ...process.env, [ISOLATED]: '1' } },
  );
  process.exit(status ?? 1);
}

for (const name of chosen) await measure(name);
assemble();

async function measure(name: string): Promise<void> {
  const scenario = await load(name);
  process.stderr.write(`${scenario.title}\n`);
  const bench = new MarkdownBench(Number(values.rounds));
  {
    await using _ = bench.stack;
    await scenario.run(bench);
  }
  const text = `## ${scenario.title}\n\n${machine()}\n\n${bench}`;
  writeFileSync(join(results, `${name}.md`), text);
  process.stdout.write(`${text}\n`);
}

async function load(name: string): Promise<Scenario> {
  const { scenario } = (await import(`./scenarios/${name}.ts`)) as { scenario: Scenario };
  return scenario;
}

function machine(): string {
  const date = new Date().toISOString().slice(0, 10);
  return `${date}, Linux ${release()}, ${cpus().length} × ${cpus()[0]?.model ?? 'unknown processor'}.`;
}

function assemble(): void {
  const parts = names.map((name) => join(results, `${name}.md`)).flatMap(readIfThere);
  const head =
    '# Measurements\n\nWritten by `npm run bench`: contestants take turns in every round. Read the ratios: the machine is shared.\n';
  writeFileSync(join(import.meta.dirname, 'RESULTS.md'), [head, ...parts].join('\n'));
  updateReadmes(join(import.meta.dirname, '..'));
  process.stdout.write('written to bench/RESULTS.md, and the READMEs\n');
}

/** A scenario that never ran on this checkout has no results yet. */
function readIfThere(path: string): string[] {
  try {
    return [readFileSync(path, 'utf8')];
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

function fail(message: string): never {
  process.stderr.write(`bench: ${message}\n`);
  process.exit(1);
}

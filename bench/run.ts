/**
 * `npm run bench`: times whole commands through the same stock docker CLI against our daemon and, where they are
 * installed, dockerd and podman, one after the other in each round, and writes medians and ratios to RESULTS.md.
 *
 * Peers take turns within a round, so that a machine whose speed drifts slows all of them alike: read the ratios.
 */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { startPeers, type Peer } from './peers.ts';

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '20' } } });
const rounds = Number(values.rounds);
const ISOLATED = 'TARE_BENCH_ISOLATED';

if (process.getuid?.() !== 0) {
  process.stderr.write('bench: containers need root\n');
  process.exit(1);
}
if (process.env[ISOLATED] === undefined) {
  // all daemons share one network of their own, away from the machine's
  const { status } = spawnSync(
    'unshare',
    ['--net', '--', process.execPath, ...process.execArgv, import.meta.filename, ...process.argv.slice(2)],
    { stdio: 'inherit', env: { ...process.env, [ISOLATED]: '1' } },
  );
  process.exit(status ?? 1);
}

await using peers = await startPeers();
for (const { name, reason } of peers.absent) process.stdout.write(`not measured: ${name}: ${reason}\n`);

const samples = new Map<string, number[]>(peers.list.map(({ name }) => [name, []]));
for (const peer of peers.list) measure(peer); // the first run of each pays for cold caches
for (let round = 0; round < rounds; round++) {
  for (const peer of peers.list) samples.get(peer.name)!.push(measure(peer));
  process.stdout.write(`\rround ${round + 1} of ${rounds}`);
}
process.stdout.write('\n');
report();

/** One `run --rm` of hello-world on a bridge network, in milliseconds from outside. */
function measure(peer: Peer): number {
  const [command, ...args] = peer.command;
  const began = process.hrtime.bigint();
  const result = spawnSync(command!, args, { encoding: 'utf8', env: peer.env });
  const elapsed = Number(process.hrtime.bigint() - began) / 1e6;
  if (result.status !== 0 || !result.stdout.includes(peer.expects)) {
    throw new Error(`${peer.name} failed: ${peer.command.join(' ')}\n${result.stdout}${result.stderr}`);
  }
  return elapsed;
}

function report(): void {
  const rows = peers.list.map(({ name, version }) => {
    const sorted = samples.get(name)!.toSorted((a, b) => a - b);
    const at = (part: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))]!;
    return { name, version, p10: at(0.1), median: at(0.5), p90: at(0.9) };
  });
  const ours = rows.find(({ name }) => name === 'tare')!;
  const lines = [
    '# Measurements',
    '',
    'Written by `npm run bench`; whole commands timed from outside, peers taking turns in every round. Read the ratios: the',
    'machine is shared.',
    '',
    `${new Date().toISOString().slice(0, 10)}, Linux ${release()}, ${cpus().length} × ${cpus()[0]?.model ?? 'unknown processor'}, ${rounds} rounds.`,
    '',
    '## `docker run --rm hello-world` on a bridge network',
    '',
    '| engine | client | p10 ms | median ms | p90 ms | ours / theirs (median) |',
    '| --- | --- | ---: | ---: | ---: | ---: |',
    ...rows.map(
      ({ name, version, p10, median, p90 }) =>
        `| ${name} ${version} | ${peers.list.find((peer) => peer.name === name)!.client} | ${p10.toFixed(0)} | ${median.toFixed(0)} | ${p90.toFixed(0)} | ${(ours.median / median).toFixed(2)} |`,
    ),
    '',
    ...peers.absent.map(({ name, reason }) => `Not measured: ${name} (${reason}).`),
    '',
  ];
  writeFileSync(join(import.meta.dirname, 'RESULTS.md'), lines.join('\n'));
  process.stdout.write(`${lines.slice(7).join('\n')}\nwritten to bench/RESULTS.md\n`);
}

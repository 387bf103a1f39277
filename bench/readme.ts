/** The numbers of the READMEs: those of RESULTS.md, rounded. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** A measurement that the READMEs show. */
interface Shown {
  /** The first cell of its row in README.md. */
  label: string;
  /** How its heading in RESULTS.md begins. */
  heading: string;
  column: string;
  unit: 'ms' | 's' | 'MB';
}

const CONTESTANTS = ['tare', 'dockerd', 'podman'];
const HELLO: Shown = {
  label: '`docker run --rm hello-world` on a bridge',
  heading: 'Whole command',
  column: 'median ms',
  unit: 'ms',
};
const MEMORY = 'Resident memory of the daemon';
const SHOWN: readonly Shown[] = [
  HELLO,
  { label: '`docker exec one true`', heading: 'exec true', column: 'median ms', unit: 'ms' },
  {
    label: 'twenty `docker run -d`, four at a time',
    heading: 'run -d of 20, 4 at a time',
    column: 'median ms',
    unit: 's',
  },
  {
    label: '`docker pull` of 150 MB in three layers',
    heading: 'Into an empty store',
    column: 'wall ms',
    unit: 's',
  },
  { label: 'ten build stages, each a `RUN` of 0.3 s', heading: '10 stages', column: 'median ms', unit: 's' },
  { label: 'memory of the daemon and its helpers, idle', heading: MEMORY, column: 'idle', unit: 'MB' },
  { label: '… with twenty containers', heading: MEMORY, column: 'with 20 containers', unit: 'MB' },
  {
    label: 'daemon start with 500 containers',
    heading: 'From the start of the daemon',
    column: 'best of 3',
    unit: 's',
  },
];

/** README.md with the numbers of `results`. @throws when a row or a measurement is not there */
export function readmeWith(results: string, readme: string): string {
  return SHOWN.reduce((text, shown) => {
    const row = [shown.label, ...CONTESTANTS.map((name) => cell(results, shown, name))];
    return replaceRow(text, shown.label, row);
  }, readme);
}

/** README.zh-CN.md, which has one measurement, a row for each contestant. */
export function chineseReadmeWith(results: string, readme: string): string {
  return CONTESTANTS.reduce((text, name) => {
    const label = new RegExp(`^\\| (${name}[ .\\d]*) \\|`, 'm').exec(text)?.[1];
    if (label === undefined) throw new Error(`README.zh-CN.md: no row of ${name}`);
    return replaceRow(text, label, [label, cell(results, HELLO, name)]);
  }, readme);
}

/** Brings both to what RESULTS.md says. */
export function updateReadmes(root: string): void {
  const results = readFileSync(join(root, 'bench/RESULTS.md'), 'utf8');
  for (const [file, update] of [
    ['README.md', readmeWith],
    ['README.zh-CN.md', chineseReadmeWith],
  ] as const) {
    const path = join(root, file);
    writeFileSync(path, update(results, readFileSync(path, 'utf8')));
  }
}

function cell(results: string, { heading, column, unit }: Shown, contestant: string): string {
  const text = valueOf(results, heading, column, contestant);
  if (text === undefined || text === '-') return '';
  return unit === 's' ? `${(Number(text) / 1000).toFixed(1)} s` : `${Math.round(Number(text))} ${unit}`;
}

/** A cell of the table below a heading; undefined for a contestant that is not in it. */
function valueOf(results: string, heading: string, column: string, contestant: string): string | undefined {
  const [, below] = results.split(`\n### ${heading}`);
  if (below === undefined) throw new Error(`RESULTS.md: no measurement ${heading}`);
  const rows = below
    .split('\n#', 1)[0]!
    .split('\n')
    .filter((line) => line.startsWith('|'))
    .map((line) => line.split('|').map((part) => part.trim()));
  const at = rows[0]?.indexOf(column) ?? -1;
  if (at < 0) throw new Error(`RESULTS.md: ${heading} has no column ${column}`);
  return rows.find(([, name]) => name === contestant || name?.startsWith(`${contestant} `))?.[at];
}

function replaceRow(text: string, label: string, cells: readonly string[]): string {
  const lines = text.split('\n');
  const at = lines.findIndex((line) => line.startsWith(`| ${label} |`));
  if (at < 0) throw new Error(`no row ${label}`);
  lines[at] = cells.map((part) => `| ${part}`.trimEnd()).join(' ') + ' |';
  return lines.join('\n');
}

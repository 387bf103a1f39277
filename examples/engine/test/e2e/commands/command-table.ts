/** Runs the command tables with one command line against an engine of its own. */
import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { COMPONENTS, componentPath } from '../../../../../test/lab/debian.ts';
import type { Finished } from '../../../../../test/lab/process.ts';
import { freePort } from '../../../../../test/lab/registry.ts';
import { missingForEndToEnd, startLab, type Lab } from '../lab.ts';
import { containerRows } from './container-rows.ts';
import { imageRows, networkRows, systemRows, volumeRows } from './other-rows.ts';
import { words, type Row, type Words } from './row.ts';

const TABLES = {
  containers: containerRows,
  images: imageRows,
  networks: networkRows,
  volumes: volumeRows,
  system: systemRows,
};

/** Registers a test for every row. @param cli - which command line is tested; `tare` has what the newest docker has */
export function testCommands(cli: 'docker' | 'tare'): void {
  const missing = missingForEndToEnd();
  const major = missing === undefined && cli === 'docker' ? dockerMajor() : Number.POSITIVE_INFINITY;

  describe.skipIf(missing !== undefined)(
    `commands of ${cli}${missing ? ` (skipped: ${missing})` : ''}`,
    () => {
      let lab: Lab;
      let folder: string;
      beforeAll(async () => {
        lab = await startLab();
        folder = await mkdtemp(join(tmpdir(), 'rows-'));
      });
      afterAll(async () => {
        await lab?.[Symbol.asyncDispose]();
        if (folder) await rm(folder, { recursive: true, force: true });
      });
      let count = 0;

      const run = async (row: Row): Promise<void> => {
        const name = `r${(count += 1)}`;
        const values: Words = {
          IMG: lab.busybox,
          REG: lab.registry,
          NAME: name,
          DIR: join(folder, name),
          PORT: String(await freePort()),
          get NOW() {
            return (Date.now() / 1000).toFixed(3);
          },
        };
        await mkdir(values.DIR);
        await writeFile(join(values.DIR, 'env'), 'FROM_FILE=yes\n');
        await writeFile(join(values.DIR, 'labels'), 'from=file\n');
        const call = (line: string, input?: string): Promise<Finished> =>
          lab[cli](words(line, values), input === undefined ? {} : { input });
        const must = async (line: string): Promise<string> => {
          const { code, stdout, stderr } = await call(line);
          expect([code, stderr], line).toEqual([0, expect.anything()]);
          return stdout;
        };
        try {
          for (const line of row.before ?? []) await must(line);
          const outcome = await call(row.line, row.input);
          const all = JSON.stringify(outcome);
          expect(outcome.code, all).toBe(row.code ?? 0);
          compare(outcome.stdout, row.stdout, values, all);
          compare(outcome.stderr, row.stderr, values, all);
          if (row.after) compare((await must(row.after[0])).trim(), row.after[1], values, row.after[0]);
        } finally {
          await tidy(lab, name);
        }
      };

      for (const [kind, rows] of Object.entries(TABLES)) {
        describe(kind, () => {
          for (const row of rows) test.skipIf((row.since ?? 0) > major)(row.name, () => run(row));
        });
      }
    },
  );
}

function compare(text: string, wanted: string | RegExp | undefined, values: Words, all: string): void {
  if (wanted instanceof RegExp) expect(text, all).toMatch(wanted);
  else if (wanted !== undefined) {
    expect(text, all).toBe(wanted.replace(/\b(IMG|NAME)\b/g, (word) => values[word as keyof Words]));
  }
}

/** Takes away what a row has made, so that none sees another's. Over the API: a command line is a process each. */
async function tidy(lab: Lab, name: string): Promise<void> {
  const filters = encodeURIComponent(JSON.stringify({ name: [name] }));
  const list = async <T>(path: string): Promise<T> => (await lab.api('GET', path)).json() as T;
  const remove = async (path: string): Promise<void> => {
    const { status, body } = await lab.api('DELETE', path);
    expect(status, `${path}: ${body.toString()}`).toBe(204);
  };
  const own = (found: string): boolean => new RegExp(`^/?${name}(?!\\d)`).test(found);
  for (const { Id: id, Names: names } of await list<{ Id: string; Names: string[] }[]>(
    `/containers/json?all=1&filters=${filters}`,
  )) {
    if (names.some(own)) await remove(`/containers/${id}?force=1&v=1`);
  }
  for (const { Id: id, Name: found } of await list<{ Id: string; Name: string }[]>(
    `/networks?filters=${filters}`,
  )) {
    if (own(found)) await remove(`/networks/${id}`);
  }
  const { Volumes: volumes } = await list<{ Volumes: { Name: string }[] }>(`/volumes?filters=${filters}`);
  for (const { Name: found } of volumes) if (own(found)) await remove(`/volumes/${found}`);
}

function dockerMajor(): number {
  const version = execFileSync(componentPath(COMPONENTS.docker)!, ['--version'], { encoding: 'utf8' });
  return Number(/version (\d+)\./.exec(version)?.[1]);
}

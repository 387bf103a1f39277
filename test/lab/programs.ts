/** Small static programs for tests, from C: compiled once for a state of their source. */
import { execFile, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, readFile, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** Where compiled ones are kept: a machine without a compiler gets them with the checkout. */
export const PROGRAMS = join(import.meta.dirname, '..', '..', '.cache', 'programs');

/** Compiles one C file. @throws when it was not compiled before and there is no compiler, or the compiler refuses it */
export async function compileStatic(source: string): Promise<Buffer> {
  const kept = keptAt(source);
  if (existsSync(kept)) return await readFile(kept);
  const folder = await mkdtemp(join(tmpdir(), 'cc-'));
  try {
    const program = join(folder, 'program');
    await promisify(execFile)('gcc', ['-Os', '-static', '-s', '-o', program, source]);
    await mkdir(PROGRAMS, { recursive: true });
    // whole or not at all: tests run beside each other
    const partial = `${kept}.${process.pid}`;
    await copyFile(program, partial);
    await rename(partial, kept);
    return await readFile(program);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Whether {@link compileStatic} can have a program. */
export function canCompile(source: string): boolean {
  return existsSync(keptAt(source)) || spawnSync('gcc', ['--version']).status === 0;
}

function keptAt(source: string): string {
  return join(PROGRAMS, createHash('sha256').update(readFileSync(source)).digest('hex'));
}

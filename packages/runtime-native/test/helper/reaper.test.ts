/** The helper as pid 1 of a container that wants one. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { describe, expect, it } from 'vitest';

import { initProgram } from '../../src/process.ts';

const missing = process.platform !== 'linux';
if (missing) console.warn('skipped: the init program (needs Linux)');

describe.skipIf(missing)('the init program', () => {
  const run = (...args: string[]) => spawnSync(initProgram(), ['--', ...args], { encoding: 'utf8' });

  it.each([
    ['exit 0', 0],
    ['exit 3', 3],
    ['kill -TERM $$', 143],
    ['kill -KILL $$', 137],
  ])('ends as the program ends: %s', (script, code) => {
    expect(run('sh', '-c', script)).toMatchObject({ status: code, stderr: '' });
  });

  it('says why a program cannot be executed, with the exit code of a shell', () => {
    expect(run('no-such-program')).toMatchObject({
      status: 127,
      stderr: 'exec no-such-program: No such file or directory\n',
    });
    expect(run('/')).toMatchObject({ status: 126, stderr: 'exec /: Permission denied\n' });
  });

  it('hands signals on, and gives the program none of its own mask', async () => {
    const script = 'trap "echo got; exit 7" USR1; echo ready; while :; do sleep 0.02; done';
    const child = spawn(initProgram(), ['--', 'sh', '-c', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    expect((await lines.next()).value).toBe('ready');
    child.kill('SIGUSR1');
    expect((await lines.next()).value).toBe('got');
    expect((await once(child, 'close'))[0]).toBe(7);
  });

  it('ends while work in the background goes on, as pid 1 takes it along', () => {
    expect(run('sh', '-c', 'sleep 0.2 > /dev/null 2>&1 & exit 5').status).toBe(5);
  });
});

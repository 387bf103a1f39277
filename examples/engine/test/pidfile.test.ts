import { spawn } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Pidfile } from '../src/pidfile.ts';

let directory: string;
let path: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tare-pid-'));
  path = join(directory, 'sub', 'tare.pid');
});
afterEach(() => rm(directory, { recursive: true, force: true }));

describe('Pidfile', () => {
  it('holds the pid and is removed at the end', () => {
    const pidfile = Pidfile.acquire(path);
    expect(readFileSync(path, 'utf8')).toBe(`${process.pid}\n`);
    pidfile[Symbol.dispose]();
    expect(existsSync(path)).toBe(false);
  });

  it('is refused while the process it names lives, and taken over once that is dead', async () => {
    const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)']);
    Pidfile.acquire(path)[Symbol.dispose]();
    writeFileSync(path, `${child.pid}\n`);
    expect(() => Pidfile.acquire(path)).toThrow(`process with PID ${child.pid} is still running`);
    child.kill('SIGKILL');
    await once(child, 'exit');
    using _pidfile = Pidfile.acquire(path);
    expect(readFileSync(path, 'utf8')).toBe(`${process.pid}\n`);
  });

  it('is taken over from one that is dead, and that nobody has waited for', async () => {
    // the shell becomes a program that never asks for its child's end
    const parent = spawn('sh', ['-c', 'true & echo $!; exec sleep 100'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const ended = once(parent, 'exit');
    const [line] = (await once(parent.stdout, 'data')) as [Buffer];
    const pid = Number(String(line));
    await expect.poll(() => readFileSync(`/proc/${pid}/status`, 'utf8')).toMatch(/^State:\s+Z/m);
    Pidfile.acquire(path)[Symbol.dispose]();
    writeFileSync(path, `${pid}\n`);
    using _pidfile = Pidfile.acquire(path);
    parent.kill();
    await ended;
    expect(readFileSync(path, 'utf8')).toBe(`${process.pid}\n`);
  });

  it('replaces a file without a pid', () => {
    Pidfile.acquire(path)[Symbol.dispose]();
    writeFileSync(path, 'garbage');
    using _pidfile = Pidfile.acquire(path);
    expect(readFileSync(path, 'utf8')).toBe(`${process.pid}\n`);
  });
});

import { execFileSync } from 'node:child_process';
import { closeSync, constants, openSync, readFileSync, readlinkSync, writeSync } from 'node:fs';

import { describe, expect, test } from 'vitest';

import {
  SEAL,
  addSeals,
  closeFds,
  getSeals,
  helperFd,
  memfdCreate,
  pidfdExited,
  pidfdOpen,
  pidfdSendSignal,
  readable,
  spawnProcess,
  trimMemory,
  waitPidfd,
  watchReadable,
  writable,
} from '../src/process.ts';
import type { SpawnOptions } from '../src/process.ts';
import { receiveMessage, sendMessage, socketpair } from '../src/unix-socket.ts';
import { children } from './rootfs.ts';

const reason = process.platform === 'linux' ? undefined : 'needs Linux';
if (reason) console.warn(`skipped: processes (${reason})`);

const SIGKILL = 9;
const SIGTERM = 15;

/** Runs a shell script to its end, and returns what it wrote to 3, or to 1 when `fds` are given, and how it ended. */
async function shell(script: string, options: Partial<SpawnOptions> = {}) {
  const exeFd = openSync('/bin/sh', constants.O_RDONLY);
  const [ours, theirs] = socketpair('stream');
  try {
    const to = options.fds ? { stdout: theirs } : { fds: [theirs] };
    const { pidfd } = spawnProcess({ exeFd, argv: ['sh', '-c', script], ...to, ...options });
    closeSync(theirs);
    const status = await waitPidfd(pidfd);
    closeSync(pidfd);
    let output = '';
    for (;;) {
      await readable(ours);
      const message = receiveMessage(ours, 65_536);
      if (!message || message.data.length === 0) break;
      output += Buffer.from(message.data).toString();
    }
    return { output: output.trim(), status };
  } finally {
    closeFds([exeFd, ours]);
  }
}

describe.skipIf(reason)('a spawned process', () => {
  test('gets its arguments, its environment and nothing else', async () => {
    const { output, status } = await shell('', {
      argv: ['sh', '-c', 'echo "$0 $1 $A$SECRET" >&3; exit 3', 'zero', 'one two'],
      env: ['A=b c'],
    });
    expect(output).toBe('zero one two b c');
    expect(status).toEqual({ code: 3, signal: null });
  });

  test('has the descriptors that were given, in order, and no others', async () => {
    const [a, b] = socketpair('stream');
    const low = openSync('/dev/zero', constants.O_RDONLY);
    const { output } = await shell('for f in /proc/self/fd/*; do echo "${f##*/} $(readlink $f)"; done', {
      fds: [b, low, a, low],
    });
    closeFds([a, b, low]);
    const lines = output.split('\n').filter((line) => /^\d+ \S/.test(line));
    const names = Object.fromEntries(lines.map((line) => line.split(' ') as [string, string]));
    expect(names['0']).toBe('/dev/null');
    expect(names['2']).toBe('/dev/null');
    expect(names['3']).toMatch(/^socket:/);
    expect(names['4']).toBe('/dev/zero');
    expect(names['5']).toMatch(/^socket:/);
    expect(names['6']).toBe('/dev/zero');
    expect(names['3']).not.toBe(names['5']);
    // the shell's own descriptor of the folder is the one more
    expect(Object.keys(names).filter((fd) => Number(fd) > 7)).toEqual([]);
  });

  test('gets descriptors right whose numbers are those of others', async () => {
    const ours = [3, 4, 5].map((fd) => readlinkSync(`/proc/self/fd/${fd}`));
    const { output } = await shell('for n in 3 4 5; do readlink /proc/self/fd/$n; done', { fds: [5, 3, 4] });
    expect(output.split('\n')).toEqual([ours[2], ours[0], ours[1]]);
  });

  test('starts with default signals, none of them blocked', async () => {
    const { output } = await shell('exec cat /proc/self/status >&3');
    const sets = [...output.matchAll(/^Sig(Blk|Ign|Cgt):\t(\w+)$/gm)].map((match) => BigInt(`0x${match[2]}`));
    expect(sets).toEqual([0n, 0n, 0n]);
  });

  test('leaves this process with its signal mask', async () => {
    const mask = (): string => /SigBlk:\t(\w+)/.exec(readFileSync('/proc/self/status', 'utf8'))![1]!;
    const before = mask();
    await shell('exit 0');
    expect(mask()).toBe(before);
  });

  test('tells by which signal it ended', async () => {
    const { status } = await shell('kill -TERM $$');
    expect(status).toEqual({ code: null, signal: SIGTERM });
  });

  test('is refused with errno and step when it cannot be executed, and leaves no zombie', () => {
    const exeFd = openSync('/etc/passwd', constants.O_RDONLY);
    const before = children();
    expect(() => spawnProcess({ exeFd, argv: ['x'] })).toThrowError(
      expect.objectContaining({ code: 'EACCES', syscall: 'execveat', path: 'x' }),
    );
    expect(() => spawnProcess({ exeFd, argv: ['x'], fds: [9999] })).toThrowError(
      expect.objectContaining({ code: 'EBADF', syscall: 'dup3' }),
    );
    closeSync(exeFd);
    expect(children()).toEqual(before);
  });

  test('costs the same with a large heap', async () => {
    const exeFd = openSync('/bin/true', constants.O_RDONLY);
    const round = async (): Promise<number> => {
      let best = Infinity;
      for (let i = 0; i < 15; i++) {
        const start = performance.now();
        const { pidfd } = spawnProcess({ exeFd, argv: ['true'] });
        best = Math.min(best, performance.now() - start);
        await waitPidfd(pidfd);
        closeSync(pidfd);
      }
      return best;
    };
    const small = await round();
    const ballast = Buffer.alloc(400 << 20, 1);
    const large = await round();
    expect(ballast.length).toBeGreaterThan(0);
    closeSync(exeFd);
    // fork(2) would take some 40 ms here
    expect(large).toBeLessThan(small + 5);
  });

  test('does not disturb children of node:child_process', async () => {
    const runs = Array.from({ length: 10 }, () => shell('exit 7'));
    for (let i = 0; i < 5; i++) expect(execFileSync('echo', ['x'], { encoding: 'utf8' })).toBe('x\n');
    for (const { status } of await Promise.all(runs)) expect(status.code).toBe(7);
  });
});

describe.skipIf(reason)('waiting', () => {
  test('on a process that is not our child sees its end', async () => {
    const exeFd = openSync('/bin/sh', constants.O_RDONLY);
    const [ours, theirs] = socketpair('stream');
    const child = spawnProcess({ exeFd, argv: ['sh', '-c', 'sleep 60 & echo $! >&3; wait'], fds: [theirs] });
    await readable(ours);
    const grandchild = Number(Buffer.from(receiveMessage(ours, 100)!.data).toString());
    const pidfd = pidfdOpen(grandchild);
    await expect(waitPidfd(pidfd)).rejects.toMatchObject({ code: 'ECHILD' });
    const exited = pidfdExited(pidfd);
    pidfdSendSignal(pidfd, SIGKILL);
    await exited;
    expect(await waitPidfd(child.pidfd)).toEqual({ code: 0, signal: null });
    closeFds([exeFd, ours, theirs, pidfd, child.pidfd]);
  });

  test('can be given up', async () => {
    const exeFd = openSync('/bin/sleep', constants.O_RDONLY);
    const { pidfd } = spawnProcess({ exeFd, argv: ['sleep', '60'] });
    const reason = new Error('enough');
    const controller = new AbortController();
    const waiting = waitPidfd(pidfd, { signal: controller.signal });
    controller.abort(reason);
    await expect(waiting).rejects.toBe(reason);
    await expect(waitPidfd(pidfd, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    pidfdSendSignal(pidfd, SIGKILL);
    expect(await waitPidfd(pidfd)).toEqual({ code: null, signal: SIGKILL });
    expect(() => pidfdSendSignal(pidfd, 0)).toThrowError(expect.objectContaining({ code: 'ESRCH' }));
    closeFds([exeFd, pidfd]);
  });

  test('finds no process under a number that nobody has', () => {
    expect(() => pidfdOpen(0x3f_ffff)).toThrowError(
      expect.objectContaining({ code: 'ESRCH', path: '4194303' }),
    );
  });

  test('watches a descriptor until it is closed, and outlives the caller closing its own', async () => {
    const [a, b] = socketpair('seqpacket');
    const seen: number[] = [];
    const watched = new Promise<void>((resolve) => {
      const watcher = watchReadable(a, () => {
        const message = receiveMessage(a, 10);
        if (message) seen.push(message.data[0]!);
        if (seen.length === 2) {
          watcher.close();
          watcher.close();
          resolve();
        }
      });
    });
    await writable(b);
    sendMessage(b, Uint8Array.of(1));
    sendMessage(b, Uint8Array.of(2));
    await watched;
    sendMessage(b, Uint8Array.of(3));
    await readable(a);
    expect(seen).toEqual([1, 2]);
    closeFds([a, b]);
  });

  test('cannot be done on a regular file', () => {
    const fd = openSync('/etc/passwd', constants.O_RDONLY);
    expect(() => watchReadable(fd, () => undefined)).toThrowError(expect.objectContaining({ code: 'EPERM' }));
    closeSync(fd);
  });

  test('does not keep a program alive that does not care', () => {
    const script = `
      import { socketpair } from ${JSON.stringify(new URL('../src/unix-socket.ts', import.meta.url).href)};
      import { readable } from ${JSON.stringify(new URL('../src/process.ts', import.meta.url).href)};
      readable(socketpair('stream')[0], { keepAlive: false });
    `;
    execFileSync(process.execPath, [...process.execArgv, '--input-type=module', '-e', script], {
      timeout: 10_000,
    });
  });
});

describe.skipIf(reason)('files in memory', () => {
  test('refuse what their seals forbid', () => {
    const fd = memfdCreate('test');
    writeSync(fd, 'text');
    addSeals(fd, SEAL.SEAL | SEAL.WRITE);
    expect(getSeals(fd)).toBe(SEAL.SEAL | SEAL.WRITE);
    expect(() => writeSync(fd, 'more')).toThrow('EPERM');
    expect(() => addSeals(fd, SEAL.GROW)).toThrowError(expect.objectContaining({ code: 'EPERM' }));
    closeSync(fd);
  });

  test('hold the helper, made once, which nothing can change any more', () => {
    const fd = helperFd();
    expect(helperFd()).toBe(fd);
    expect(readlinkSync(`/proc/self/fd/${fd}`)).toContain('memfd:tare-init');
    const all = SEAL.SEAL | SEAL.SHRINK | SEAL.GROW | SEAL.WRITE;
    expect(getSeals(fd) & all).toBe(all);
    expect(() => writeSync(fd, 'x', 0)).toThrow('EPERM');
    expect(() => openSync(`/proc/self/fd/${fd}`, constants.O_WRONLY | constants.O_TRUNC)).toThrow('EPERM');
  });
});

describe.skipIf(reason !== undefined)('trimMemory', () => {
  /** Of the program: its code and constants, as far as they are mapped. */
  const ofFiles = (): number =>
    Number(/^RssFile:\s+(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))![1]);

  test('lets go of the program, which runs on', () => {
    const before = ofFiles();
    trimMemory();
    expect(ofFiles()).toBeLessThan(before * 0.75);
    // what it needs is there again
    expect(JSON.parse(JSON.stringify({ a: [1, 'text', new Date(0)] }))).toEqual({
      a: [1, 'text', '1970-01-01T00:00:00.000Z'],
    });
    expect(() => trimMemory()).not.toThrow();
  });
});

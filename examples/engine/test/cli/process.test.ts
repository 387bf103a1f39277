/** The command line as a process: pipes that close, signals, a terminal. */
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Socket } from 'node:net';
import { describe, expect, it } from 'vitest';
import { frame, startPeer, type Peer, type Script, type Seen } from './peer.ts';
import { machine } from './machine.ts';

const start = join(import.meta.dirname, '..', '..', 'src', 'cli', 'start.ts');
const script = '/usr/bin/script';
const id = 'f'.repeat(64);

/** How to run `tare` against a peer, as words of a command line. */
function words(peer: Peer, args: readonly string[]): string[] {
  return [process.execPath, '--conditions=@tare/source', start, '-H', peer.host, ...args];
}

const environment = { PATH: process.env['PATH'], HOME: '/nonexistent', TERM: 'xterm' };

/** Starts `tare` with pipes. */
function tare(peer: Peer, args: readonly string[]): ChildProcess {
  const [program, ...rest] = words(peer, args) as [string, ...string[]];
  return spawn(program, rest, { env: environment, stdio: 'pipe' });
}

/** Starts `tare` on a terminal of its own, 33 rows by 99 columns unless it is told otherwise. */
function onTerminal(peer: Peer, args: readonly string[], size = 'rows 33 cols 99'): ChildProcess {
  const line = `stty ${size}; ${words(peer, args).join(' ')}; echo "code $?"; stty -a`;
  return spawn(script, ['-qec', line, '/dev/null'], {
    env: { ...environment, SHELL: '/bin/sh' },
    stdio: 'pipe',
  });
}

interface Ending {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** Collects a process's output until it ends. */
function ending(child: ChildProcess): Promise<Ending> {
  let stdout = '';
  let stderr = '';
  child.stdout!.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr!.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, stdout, stderr }));
  });
}

/** A container that lives until its test says so. `attached` yields its connection once it has started. */
function container(options: { tty?: boolean; onKill?: (signal: string) => void } = {}) {
  const exit = Promise.withResolvers<unknown>();
  const attached = Promise.withResolvers<Socket>();
  const started = Promise.withResolvers<void>();
  const answers: Script = (seen: Seen, path: string) => {
    if (path === 'POST /containers/create') return { status: 201, json: { Id: id, Warnings: [] } };
    if (path === `POST /containers/${id}/attach`) {
      return {
        tty: options.tty,
        async talk(socket) {
          await started.promise;
          attached.resolve(socket);
        },
      };
    }
    if (path === `POST /containers/${id}/wait`) return { later: exit.promise };
    if (path === `POST /containers/${id}/start`) {
      started.resolve();
      return { status: 204 };
    }
    if (path === `POST /containers/${id}/kill`) {
      options.onKill?.(new URLSearchParams(seen.target.split('?')[1]).get('signal')!);
      return { status: 204 };
    }
    if (path === `POST /containers/${id}/resize`) return { status: 200 };
    return machine()(seen, path);
  };
  return { answers, attached: attached.promise, exit: (code: number) => exit.resolve({ StatusCode: code }) };
}

describe('the process', () => {
  it.skipIf(!existsSync(script))(
    'takes a terminal that does not know its size for one of 80 columns',
    async () => {
      await using peer = await startPeer(machine());
      const { stdout } = await ending(onTerminal(peer, ['pull', 'busybox:1.37'], 'rows 0 cols 0'));
      expect(stdout).toContain(': Pull complete');
    },
  );

  it('ends quietly when its reader goes away, as in `tare ps | head -1`', async () => {
    const rows = Array.from({ length: 20_000 }, (_, at) => ({
      Driver: 'local',
      Name: `volume-${at}`,
      Scope: 'local',
    }));
    await using peer = await startPeer((seen, path) =>
      path === 'GET /volumes' ? { json: { Volumes: rows, Warnings: null } } : machine()(seen, path),
    );
    const child = spawn('/bin/sh', ['-c', `${words(peer, ['volume', 'ls']).join(' ')} | head -1`], {
      env: environment,
    });
    const { stdout, stderr, code } = await ending(child);
    expect(stderr).toBe('');
    expect(stdout).toMatch(/^DRIVER/);
    expect(code).toBe(0);
  });

  it('passes signals on to the container and ends with its exit code', async () => {
    const box = container({
      onKill(signal) {
        expect(signal).toBe('TERM');
        void box.attached.then((socket) => {
          socket.end(frame(2, 'bye\n'));
          box.exit(143);
        });
      },
    });
    await using peer = await startPeer(box.answers);
    const child = tare(peer, ['run', 'busybox']);
    const end = ending(child);
    (await box.attached).write(frame(1, 'ready\n'));
    child.stdout!.once('data', () => child.kill('SIGTERM'));
    expect(await end).toEqual({ code: 143, stdout: 'ready\n', stderr: 'bye\n' });
  });

  it('closes its half of the connection at the end of stdin and still prints what comes after', async () => {
    const box = container();
    await using peer = await startPeer(box.answers);
    const child = tare(peer, ['run', '-i', 'busybox']);
    const end = ending(child);
    child.stdin!.end('question');
    const socket = await box.attached;
    let heard = '';
    for await (const chunk of socket.iterator({ destroyOnReturn: false })) heard += String(chunk);
    expect(heard).toBe('question');
    socket.end(frame(1, 'answer\n'));
    box.exit(0);
    expect(await end).toEqual({ code: 0, stdout: 'answer\n', stderr: '' });
  });

  it('names the socket and the remedy when no daemon answers', async () => {
    await using peer = await startPeer(machine());
    const gone = { ...peer, host: `unix://${peer.socketPath}.gone` };
    const { code, stderr } = await ending(tare(gone, ['ps']));
    expect(code).toBe(1);
    expect(stderr).toContain(`Cannot connect to the Tare daemon at ${gone.host}.`);
    expect(stderr).toContain("'tare daemon'");
    expect((await ending(tare(gone, ['run', 'x']))).code).toBe(125);
  });
});

describe.skipIf(!existsSync(script))('on a terminal', () => {
  it('is raw while the container has it, resizes the container, and is itself again afterwards', async () => {
    const box = container({ tty: true });
    await using peer = await startPeer(box.answers);
    const child = onTerminal(peer, ['run', '-it', 'busybox']);
    const end = ending(child);
    const socket = await box.attached;
    const typed = Promise.withResolvers<string>();
    let heard = '';
    socket.on('data', (chunk: Buffer) => {
      heard += chunk.toString();
      if (heard.length === 2) typed.resolve(heard);
    });
    // A prompt first, so that the keys come after raw mode has begun.
    socket.write('prompt> ');
    child.stdout!.once('data', () => child.stdin!.write('\x03x'));
    expect(await typed.promise).toBe('\x03x');
    await expect
      .poll(() => peer.seen.map(({ target }) => target))
      .toContain(`/containers/${id}/resize?h=33&w=99`);
    socket.write('down\nright');
    socket.end();
    box.exit(7);
    const { stdout } = await end;
    // A bare line feed is sent as "index", so that the terminal does not return the carriage.
    expect(stdout).toContain('down\x1bDright');
    expect(stdout).toContain('code 7');
    expect(stdout).toMatch(/(?<!-)icanon/);
    expect(stdout).toMatch(/(?<!-)echo\b/);
  });

  it('is given back by ctrl-p ctrl-q, and the container goes on', async () => {
    const box = container({ tty: true });
    await using peer = await startPeer(box.answers);
    const child = onTerminal(peer, ['run', '-it', 'busybox']);
    const end = ending(child);
    const socket = await box.attached;
    socket.write('prompt> ');
    child.stdout!.once('data', () => child.stdin!.write('\x10\x11'));
    const { stdout } = await end;
    expect(stdout).toContain('code 0');
    expect(stdout).toMatch(/(?<!-)icanon/);
    expect(peer.seen.some(({ target }) => target.includes('/kill'))).toBe(false);
  });

  it('shows a pull as bars that end as `Pull complete`, the rest in order around them', async () => {
    await using peer = await startPeer(machine());
    const { stdout } = await ending(onTerminal(peer, ['pull', 'busybox:1.37']));
    const first = stdout.indexOf('1.37: Pulling from library/busybox');
    const last = stdout.lastIndexOf('802a62dedb48: Pull complete');
    const digest = stdout.indexOf('Digest: sha256:');
    expect(first).toBeGreaterThanOrEqual(0);
    expect(last).toBeGreaterThan(first);
    expect(digest).toBeGreaterThan(last);
    expect(stdout).toContain('Status: Downloaded newer image for busybox:1.37');
    expect(stdout).toContain('docker.io/library/busybox:1.37');
    expect(stdout).toContain('code 0');
  });
});

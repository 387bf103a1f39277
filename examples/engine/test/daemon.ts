/** A daemon from the sources, as a process of its own in a network namespace of its own. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { call } from './http/harness.ts';

/** Why a daemon cannot be started here, or undefined. */
export const missingForDaemon: string | undefined =
  process.getuid?.() === 0 ? undefined : 'needs root, for network namespaces and cgroups';

/** Places of one engine; several daemons may be started on them, one after the other. */
export async function makeEngineHome() {
  // short: a socket's path must stay under 108 bytes
  const directory = await mkdtemp(join(tmpdir(), 't-'));
  const socketPath = join(directory, 's');
  const flags = [
    ['--host', `unix://${socketPath}`],
    ['--data-root', join(directory, 'data')],
    ['--exec-root', join(directory, 'run')],
    ['--pidfile', join(directory, 'pid')],
    ['--config-file', '/dev/null'],
  ].flat();
  const running = new Set<Daemon>();
  return {
    directory,
    socketPath,
    flags,
    /** Starts a daemon and waits for its first `_ping`, or for its end. */
    async start(...more: string[]): Promise<Daemon> {
      const daemon = startDaemon([...flags, ...more], socketPath);
      running.add(daemon);
      await daemon.ready;
      return daemon;
    },
    async [Symbol.asyncDispose]() {
      for (const daemon of running) await daemon.stop();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

export type Daemon = ReturnType<typeof startDaemon>;

function startDaemon(flags: readonly string[], socketPath: string) {
  const main = join(import.meta.dirname, '..', 'src', 'main.ts');
  const child = spawn('unshare', ['--net', process.execPath, '--conditions=@tare/source', main, ...flags], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const state = { output: '', ended: false };
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => (state.output += text));
  }
  const exited = once(child, 'close').then(([code, signal]) => {
    state.ended = true;
    return { code: code as number | null, signal: signal as NodeJS.Signals | null };
  });
  const ready = (async () => {
    while (!state.ended) {
      try {
        if ((await call(socketPath, 'GET', '/_ping')).status === 200) return;
      } catch {
        // not listening yet
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    }
  })();
  return {
    /** unshare(1) execs the daemon, so the pid is the daemon's. */
    pid: child.pid!,
    exited,
    ready,
    /** Everything it has printed. */
    get output() {
      return state.output;
    },
    /** Ends it; resolves to its exit code. */
    async stop(signal: NodeJS.Signals = 'SIGTERM') {
      if (!state.ended) child.kill(signal);
      return exited;
    },
  };
}

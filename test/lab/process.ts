/** Child processes of tests: run to the end, or keep and stop for sure. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';

/** What a finished command left. */
export interface Finished {
  stdout: string;
  stderr: string;
  /** 128 + signal when a signal ended it, as a shell tells it. */
  code: number;
}

/** Runs a command to its end, never through a shell. `input` is its stdin; without it stdin is empty. */
export async function run(
  command: string,
  args: string[],
  options: {
    input?: string | Uint8Array;
    env?: NodeJS.ProcessEnv;
    cwd?: string;
    timeoutMs?: number;
  } = {},
): Promise<Finished> {
  const child = spawn(command, args, {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: options.env ?? process.env,
    cwd: options.cwd,
    timeout: options.timeoutMs ?? 30_000,
    killSignal: 'SIGKILL',
  });
  const output = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output.stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (output.stderr += text));
  // a command that does not read its stdin closes it early
  child.stdin.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE' && error.code !== 'ECONNRESET') throw error;
  });
  child.stdin.end(options.input ?? '');
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  if (signal === 'SIGKILL')
    throw new Error(
      `killed after its time: ${command} ${args.join(' ')}\n${output.stdout}\n${output.stderr}`,
    );
  return { ...output, code: code ?? 128 };
}

/** A server of a test. Its output is kept to be shown when something goes wrong. */
export interface Server extends AsyncDisposable {
  readonly child: ChildProcess;
  /** What it printed so far. */
  output(): string;
  /** Ends it with `signal` and waits until it is gone. */
  stop(signal?: NodeJS.Signals): Promise<void>;
}

/** Starts a server and waits until `ready` answers true. */
export async function startServer(
  command: string,
  args: string[],
  options: { ready: () => Promise<boolean>; env?: NodeJS.ProcessEnv; timeoutMs?: number },
): Promise<Server> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], env: options.env ?? process.env });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (output += text));
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  const server: Server = {
    child,
    output: () => output,
    async stop(signal = 'SIGTERM') {
      if (child.exitCode === null && child.signalCode === null) child.kill(signal);
      await ended;
    },
    [Symbol.asyncDispose]: () => server.stop(),
  };
  const deadline = Date.now() + (options.timeoutMs ?? 15_000);
  while (!(await options.ready())) {
    if (child.exitCode !== null || child.signalCode !== null || Date.now() > deadline) {
      await server.stop('SIGKILL');
      throw new Error(`${command} ${args.join(' ')} did not become ready:\n${output}`);
    }
    await pause(20);
  }
  return server;
}

/** Asks again and again until `condition` gives a value; for what only shows by looking. */
export async function eventually<T>(
  what: string,
  condition: () => Promise<T | undefined>,
  timeoutMs = 10_000,
): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const value = await condition();
    if (value !== undefined) return value;
    if (Date.now() > deadline) throw new Error(`did not come to pass within ${timeoutMs} ms: ${what}`);
    await pause(25);
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Joins the user's stdin, stdout and stderr to a connection taken over from the daemon. */
import type { Socket } from 'node:net';
import type { Writable } from 'node:stream';
import type { Cli } from './cli.ts';
import { CliError } from './errors.ts';
import { StdioDemultiplexer } from './stdcopy.ts';
import { DetachWatcher, LineFeedKeeper, defaultDetachKeys, parseDetachKeys } from './terminal.ts';

/** Which streams are joined, and how. */
export interface SessionOptions {
  stdin: boolean;
  stdout: boolean;
  stderr: boolean;
  /** The process has a terminal: one raw stream, detach keys, raw mode. */
  tty: boolean;
  /** Default ctrl-p,ctrl-q. */
  detachKeys?: string;
}

/** How a session ended: the process's side closed, or the user typed the detach keys. */
export type SessionEnd = 'closed' | 'detached';

/**
 * Runs a session until the daemon closes the connection or the user detaches. The terminal is raw meanwhile and
 * restored on every way out. End of stdin closes only our half, so output keeps coming.
 */
export async function runSession(cli: Cli, socket: Socket, options: SessionOptions): Promise<SessionEnd> {
  const raw = options.stdin && options.tty && cli.stdin.isTTY === true;
  const { promise, resolve, reject } = Promise.withResolvers<SessionEnd>();
  let stopInput: () => void = () => undefined;
  try {
    if (raw) cli.stdin.setRawMode?.(true);
    receive(cli, socket, options, raw, reject);
    socket.once('end', () => resolve('closed'));
    socket.once('close', () => resolve('closed'));
    // The daemon may drop the connection while we still write; the process has ended then, and its status is known.
    socket.on('error', (error: NodeJS.ErrnoException) =>
      error.code === 'EPIPE' || error.code === 'ECONNRESET' ? resolve('closed') : reject(error),
    );
    if (options.stdin) stopInput = send(cli, socket, options, () => resolve('detached'));
    else socket.end();
    return await promise;
  } finally {
    stopInput();
    if (raw) cli.stdin.setRawMode?.(false);
    socket.destroy();
  }
}

function receive(
  cli: Cli,
  socket: Socket,
  options: SessionOptions,
  raw: boolean,
  fail: (error: unknown) => void,
): void {
  /** Writes and, when the reader is slow, waits for it rather than piling up in memory. */
  const write = (target: Writable, bytes: Buffer): void => {
    if (target.write(bytes)) return;
    socket.pause();
    target.once('drain', () => socket.resume());
  };
  if (options.tty) {
    const keeper = raw && cli.stdout.isTTY ? new LineFeedKeeper() : undefined;
    socket.on('data', (chunk: Buffer) => write(cli.stdout, keeper ? keeper.transform(chunk) : chunk));
    return;
  }
  const demultiplexer = new StdioDemultiplexer((channel, payload) => {
    if (channel === 'error') fail(new CliError(`error from daemon in stream: ${payload.toString()}`));
    else if (channel === 'stderr') {
      if (options.stderr) write(cli.stderr, payload);
    } else if (options.stdout) write(cli.stdout, payload);
  });
  socket.on('data', (chunk: Buffer) => {
    try {
      demultiplexer.push(chunk);
    } catch (error) {
      fail(error);
    }
  });
}

/** Forwards stdin; returns how to stop. */
function send(cli: Cli, socket: Socket, options: SessionOptions, detach: () => void): () => void {
  const { stdin } = cli;
  const watcher = options.tty
    ? new DetachWatcher(parseDetachKeys(options.detachKeys || defaultDetachKeys))
    : undefined;
  const onData = (chunk: Buffer): void => {
    const { bytes, detached } = watcher ? watcher.filter(chunk) : { bytes: chunk, detached: false };
    if (bytes.length > 0 && !socket.write(bytes)) {
      stdin.pause();
      socket.once('drain', () => stdin.resume());
    }
    if (detached) detach();
  };
  const onEnd = (): void => void socket.end();
  stdin.on('data', onData);
  stdin.once('end', onEnd);
  // Reading from a closed descriptor (`<&-`) is an end of input, not a failure of the container.
  stdin.once('error', onEnd);
  if (stdin.readableEnded) onEnd();
  return () => {
    stdin.off('data', onData);
    stdin.off('end', onEnd);
    stdin.pause();
  };
}

/** Runs command lines against a peer: ours in this process, the stock docker CLI in its own. */
import { spawn } from 'node:child_process';
import { PassThrough, Readable, Writable } from 'node:stream';
import { main } from '../../src/cli/main.ts';

export interface Outcome {
  code: number;
  stdout: string;
  stderr: string;
}

/** A sink that keeps what it is given. */
function collector(): { stream: Writable; text: () => string } {
  const chunks: Buffer[] = [];
  const stream = new Writable({
    write(chunk: Buffer | string, _encoding, done) {
      chunks.push(Buffer.from(chunk));
      done();
    },
  });
  return { stream, text: () => Buffer.concat(chunks).toString() };
}

/** The client's environment: nothing of the developer's own. */
function environment(extra: Record<string, string> = {}): Record<string, string> {
  return { HOME: '/nonexistent', PATH: process.env['PATH'] ?? '', TZ: 'UTC', FROM_CLIENT: 'yes', ...extra };
}

/** How a command line is run. */
interface DriveOptions {
  input?: string;
  env?: Record<string, string>;
  /** Folder that paths are relative to. */
  cwd?: string;
  /** What people at a terminal see. */
  terminal?: boolean;
}

/** Runs `tare` with the given standard input; without a host, it finds one itself. */
export async function tare(
  host: string | undefined,
  args: readonly string[],
  options: DriveOptions = {},
): Promise<Outcome> {
  const stdout = collector();
  const stderr = collector();
  if (options.terminal) {
    Object.assign(stdout.stream, { isTTY: true, columns: 80, rows: 24 });
    Object.assign(stderr.stream, { isTTY: true, columns: 80, rows: 24 });
  }
  const stdin =
    options.input === undefined ? new PassThrough().end() : Readable.from([Buffer.from(options.input)]);
  const code = await main([...(host === undefined ? [] : ['-H', host]), ...args], {
    stdin: stdin as Readable,
    stdout: stdout.stream,
    stderr: stderr.stream,
    environment: environment(options.env),
    workingDirectory: options.cwd ?? '/cwd',
  });
  return { code, stdout: stdout.text(), stderr: stderr.text() };
}

/** Runs the stock docker CLI. */
export function docker(
  program: string,
  host: string | undefined,
  args: readonly string[],
  options: DriveOptions = {},
): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, [...(host === undefined ? [] : ['-H', host]), ...args], {
      env: environment(options.env),
      ...(options.cwd && { cwd: options.cwd }),
      stdio: 'pipe',
    });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    child.stdin.on('error', () => undefined);
    child.stdin.end(options.input ?? '');
    child.once('error', reject);
    child.once('close', (code) => resolve({ code: code ?? -1, stdout, stderr }));
  });
}

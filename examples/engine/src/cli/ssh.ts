/** A connection to a daemon on another machine: ssh, and on its far side a command line that hands bytes on to the daemon. */
import { spawn } from 'node:child_process';
import { Duplex, type Readable, type Writable } from 'node:stream';
import { ConnectionError } from './errors.ts';
import type { Endpoint } from './host.ts';

/** Seconds to wait for the other machine, as the docker CLI does. */
const CONNECT_TIMEOUT_S = 30;

/** What runs on the far side: ours where it is installed, else Docker's. */
function remoteCommand(socketPath: string): string {
  const host = socketPath === '' ? '' : ` --host 'unix://${socketPath.replaceAll("'", `'\\''`)}'`;
  const dial = `${host} system dial-stdio`;
  const script = `if command -v tare >/dev/null 2>&1; then exec tare${dial}; else exec docker${dial}; fi`;
  return `sh -c '${script.replaceAll("'", `'\\''`)}'`;
}

/** Starts ssh. What it says on stderr becomes the reason when the connection fails. */
export function dialSsh({ url, user, hostname, port, socketPath }: Endpoint & { kind: 'ssh' }): Duplex {
  const args = [
    '-o',
    `ConnectTimeout=${CONNECT_TIMEOUT_S}`,
    '-T',
    ...(user ? ['-l', user] : []),
    ...(port ? ['-p', port] : []),
    '--',
    hostname.replace(/^\[(.*)\]$/, '$1'),
    remoteCommand(socketPath),
  ];
  // a session of its own: ctrl-C on the terminal is for us, the connection ends with us
  const child = spawn('ssh', args, { stdio: ['pipe', 'pipe', 'pipe'], detached: true });
  let complaint = '';
  child.stderr
    .setEncoding('utf8')
    .on('data', (text: string) => (complaint = (complaint + text).slice(-2000)));
  const connection = new SshConnection(child.stdin, child.stdout, () => child.kill());
  child.once('error', (cause) =>
    connection.destroy(new ConnectionError(`cannot start ssh for ${url}: ${cause.message}`, { cause })),
  );
  // the end of its output is told with its reason, which its exit has
  child.once('close', (code) => {
    if (code === 0 || code === null) return connection.push(null);
    const reason = complaint.trim() || `ssh ended with code ${code}`;
    connection.destroy(new ConnectionError(`error during connect: ${url}: ${reason}`));
  });
  return connection;
}

/** The two pipes of a process as one stream, with the methods of a socket that Node's HTTP client calls. */
class SshConnection extends Duplex {
  readonly #input: Writable;
  readonly #output: Readable;
  readonly #stop: () => void;

  constructor(input: Writable, output: Readable, stop: () => void) {
    super({ allowHalfOpen: true });
    this.#input = input;
    this.#output = output;
    this.#stop = stop;
    output.on('data', (chunk: Buffer) => {
      if (!this.push(chunk)) output.pause();
    });
    // the exit of ssh says why
    input.on('error', () => undefined);
  }

  override _read(): void {
    this.#output.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    if (this.#input.write(chunk)) done();
    else this.#input.once('drain', done);
  }

  override _final(done: () => void): void {
    this.#input.end();
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#stop();
    done(error);
  }

  setNoDelay(): this {
    return this;
  }

  setKeepAlive(): this {
    return this;
  }

  setTimeout(): this {
    return this;
  }

  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }
}

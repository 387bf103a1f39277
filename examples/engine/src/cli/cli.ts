/** What every command works with: the terminal it writes to, the environment, and the daemon's client on demand. */
import type { Readable, Writable } from 'node:stream';
import { loadConfig, type ConfigFile } from './config-file.ts';
import { DaemonClient } from './client.ts';
import { resolveHost, type TlsFlags } from './host.ts';
import type { Environment } from './values/key-value.ts';

/** A terminal, or what stands in for one in a test. */
export interface OutputStream extends Writable {
  isTTY?: boolean;
  columns?: number;
  rows?: number;
}

/** As `process.stdin`; `setRawMode` exists on terminals only. */
export interface InputStream extends Readable {
  isTTY?: boolean;
  setRawMode?(raw: boolean): unknown;
}

/** The process around the command line. */
export interface Surroundings {
  stdin: InputStream;
  stdout: OutputStream;
  stderr: OutputStream;
  environment: Environment;
  workingDirectory: string;
}

/** Flags that come before the command. */
export interface GlobalFlags {
  host: string;
  config: string;
  debug: boolean;
  tls: TlsFlags;
}

/** One run of the command line. */
export class Cli {
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
  readonly environment: Environment;
  readonly workingDirectory: string;
  readonly globals: GlobalFlags;
  readonly #surroundings: Surroundings;
  #client: DaemonClient | undefined;
  #config: ConfigFile | undefined;

  constructor(surroundings: Surroundings, globals: GlobalFlags) {
    this.#surroundings = surroundings;
    this.stdout = surroundings.stdout;
    this.stderr = surroundings.stderr;
    this.environment = surroundings.environment;
    this.workingDirectory = surroundings.workingDirectory;
    this.globals = globals;
  }

  /** Opened only by commands that read it: that alone would keep the process alive. */
  get stdin(): InputStream {
    return this.#surroundings.stdin;
  }

  /** The daemon's client. Nothing is sent until it is used. */
  get client(): DaemonClient {
    this.#client ??= new DaemonClient(resolveHost(this.globals.host, this.environment, this.globals.tls), {
      apiVersion: this.environment['DOCKER_API_VERSION'],
      headers: this.config.httpHeaders,
    });
    return this.#client;
  }

  /** `~/.docker/config.json`, read on first use. */
  get config(): ConfigFile {
    this.#config ??= loadConfig(this.globals.config || this.environment['DOCKER_CONFIG'], this.environment);
    return this.#config;
  }

  /** Width of the terminal, 80 off it. */
  get columns(): number {
    return this.stdout.columns ?? 80;
  }

  /** Writes to stdout; a missing final newline is added. */
  print(text: string): void {
    this.stdout.write(text.endsWith('\n') ? text : `${text}\n`);
  }

  /** Writes a line to stderr. */
  warn(text: string): void {
    this.stderr.write(`${text}\n`);
  }

  /** Releases the connections. */
  close(): void {
    this.#client?.close();
  }
}

/** What every command works with: the terminal it writes to, the environment, and the daemon's client on demand. */
import type { Readable, Writable } from 'node:stream';
import { loadConfig, type ConfigFile } from './config-file.ts';
import { DaemonClient } from './client.ts';
import { ContextStore, contextTls, defaultContext } from './contexts.ts';
import { CliError } from './errors.ts';
import { parseHost, resolveHost, type Endpoint, type TlsFlags } from './host.ts';
import type { Environment } from './values/key-value.ts';
import { screenOf } from './screen.ts';

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
  /** Name of the daemon, one of `context ls`; empty when it was not given. */
  context: string;
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
  #contexts: ContextStore | undefined;

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
    this.#client ??= new DaemonClient(this.endpoint(), {
      apiVersion: this.environment['DOCKER_API_VERSION'],
      headers: this.config.httpHeaders,
    });
    return this.#client;
  }

  /**
   * Which context is used: `--context`; none when an address was given, as a flag or in the environment; else
   * `DOCKER_CONTEXT`, else the one that `context use` chose.
   */
  get contextName(): string {
    const { host, context } = this.globals;
    if (context) return context;
    if (host || this.environment['TARE_HOST'] || this.environment['DOCKER_HOST']) return defaultContext;
    return this.environment['DOCKER_CONTEXT'] || this.config.currentContext || defaultContext;
  }

  /** The contexts beside the configuration. */
  get contexts(): ContextStore {
    this.#contexts ??= new ContextStore(this.config.folder);
    return this.#contexts;
  }

  /**
   * Where the daemon is.
   *
   * @throws {CliError} when the chosen context does not exist, or its address makes no sense
   */
  endpoint(): Endpoint {
    const name = this.contextName;
    if (name === defaultContext) return resolveHost(this.globals.host, this.environment, this.globals.tls);
    let docker;
    try {
      docker = this.contexts.get(name).Endpoints.docker;
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new CliError(`Failed to initialize: unable to resolve docker endpoint: ${reason}`, { cause });
    }
    if (!docker) throw new CliError(`context ${JSON.stringify(name)} has no docker endpoint`);
    const { tls } = this.globals;
    if (tls.tls || tls.tlsverify) return resolveHost(docker.Host, this.environment, tls);
    return parseHost(docker.Host, () => contextTls(this.contexts.tls(name), docker));
  }

  /** `~/.docker/config.json`, read on first use. */
  get config(): ConfigFile {
    this.#config ??= loadConfig(
      this.globals.config || this.environment['DOCKER_CONFIG'],
      this.environment,
      (text) => this.stderr.write(`${text}\n`),
    );
    return this.#config;
  }

  /** Variables for containers and builds of the chosen daemon, from `proxies` of the configuration. */
  get proxyVariables(): Record<string, string> {
    return this.config.proxyVariables(this.client.endpoint.url);
  }

  /** Width of the terminal, 80 off it. */
  get columns(): number {
    return screenOf(this.stdout).columns;
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

/**
 * The way out for those without root. The drivers work unchanged in a user and network namespace of one's own; what leads
 * out of it is a program that speaks TCP, UDP and ICMP for it on the host: pasta, or slirp4netns. Without either there
 * is no way out, and what is in the namespace reaches itself alone.
 */

import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';

import type { PublishedPort } from './driver.ts';
import { NetworkError } from './errors.ts';
import { formatPort } from './ports.ts';

/** Programs that lead out, the better one first. */
export type UplinkProgram = 'pasta' | 'slirp4netns';

/** Options of {@link openUplink}. */
export interface UplinkOptions {
  /** A process in the namespaces that need a way out. It must live until the uplink is disposed of. */
  pid: number;
  /** What may be used, in order. Default: pasta, slirp4netns. */
  programs?: readonly UplinkProgram[];
  /**
   * Ports of the host that lead to the same port of the namespace, from the start: pasta takes no more later.
   */
  ports?: readonly Pick<PublishedPort, 'protocol' | 'hostIp' | 'hostPort'>[];
  /** In bytes; default 65520, since a process copies them. */
  mtu?: number;
}

/** A way out. Disposing ends it. */
export interface Uplink extends AsyncDisposable {
  /** undefined: there is none, and {@link Uplink.warning} says so. */
  readonly program: UplinkProgram | undefined;
  /** For the user, where something is less than it could be. */
  readonly warning: string | undefined;
  /**
   * Leads one more port of the host to the same port of the namespace.
   *
   * @throws {NetworkError} `PORT_IN_USE`, `UNSUPPORTED` where the program takes none while it runs
   */
  publish(port: Pick<PublishedPort, 'protocol' | 'hostIp' | 'hostPort'>): Promise<void>;
  /** Takes a port back. */
  unpublish(port: Pick<PublishedPort, 'protocol' | 'hostIp' | 'hostPort'>): Promise<void>;
}

const DEFAULT_MTU = 65_520;
/** What slirp4netns calls the namespace's own address. */
const SLIRP_GUEST = '10.0.2.100';

/**
 * Opens a way out with the first program that is installed. It is up when this resolves.
 *
 * @throws {NetworkError} `UNSUPPORTED` with its words when a program that is installed does not work
 */
export async function openUplink(options: UplinkOptions): Promise<Uplink> {
  const { programs = ['pasta', 'slirp4netns'] } = options;
  const program = programs.find(isInstalled);
  if (program === undefined) return noUplink(programs);
  return program === 'pasta' ? await openPasta(options) : await openSlirp(options);
}

function noUplink(programs: readonly string[]): Uplink {
  const warning =
    `no way out of the network namespace: ${programs.join(' and ')} are not installed. ` +
    'Containers reach themselves and each other, nothing else, and nobody reaches them';
  const refuse = async (): Promise<void> => {
    throw new NetworkError('UNSUPPORTED', warning);
  };
  return {
    program: undefined,
    warning,
    publish: refuse,
    unpublish: () => Promise.resolve(),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

async function openPasta({ pid, ports = [], mtu = DEFAULT_MTU }: UplinkOptions): Promise<Uplink> {
  const folder = await mkdtemp(join(tmpdir(), 'tare-pasta-'));
  const pidFile = join(folder, 'pid');
  const forwarded = (protocol: string) => {
    const specs = ports
      .filter((port) => port.protocol === protocol)
      .map(({ hostIp, hostPort }) => pastaPort(hostIp, hostPort));
    return specs.length > 0 ? specs : ['none'];
  };
  const child = spawn(
    'pasta',
    [
      // the gateway's address is the host's loopback otherwise
      '--config-net',
      '--no-map-gw',
      '--quiet',
      '--mtu',
      `${mtu}`,
      '--pid',
      pidFile,
      ...forwarded('tcp').flatMap((spec) => ['-t', spec]),
      ...forwarded('udp').flatMap((spec) => ['-u', spec]),
      '-T',
      'none',
      '-U',
      'none',
      `${pid}`,
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  try {
    // it goes on in the background when it is up
    const [errors, [code]] = await Promise.all([
      text(child.stderr),
      once(child, 'exit') as Promise<[number]>,
    ]);
    if (code !== 0) throw new NetworkError('UNSUPPORTED', `pasta ended with ${code}: ${errors.trim()}`);
  } catch (error) {
    await rm(folder, { recursive: true });
    throw error;
  }
  let open = true;
  const given = new Set(ports.map((port) => formatPort(port)));
  return {
    program: 'pasta',
    warning: undefined,
    async publish(port) {
      if (given.has(formatPort(port))) return;
      throw new NetworkError(
        'UNSUPPORTED',
        `pasta takes ports at its start alone, not ${formatPort(port)} now`,
      );
    },
    unpublish: () => Promise.resolve(),
    async [Symbol.asyncDispose]() {
      if (!open) return;
      open = false;
      try {
        process.kill(Number(readFileSync(pidFile, 'utf8')), 'SIGTERM');
      } catch (error) {
        // it ends by itself with the last process of the namespace
        if (!['ESRCH', 'ENOENT'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
      }
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function pastaPort(hostIp: string, hostPort: number): string {
  return hostIp === '' || hostIp === '0.0.0.0' || hostIp === '::' ? `${hostPort}` : `${hostIp}/${hostPort}`;
}

async function openSlirp({ pid, ports = [], mtu = DEFAULT_MTU }: UplinkOptions): Promise<Uplink> {
  const folder = await mkdtemp(join(tmpdir(), 'tare-slirp-'));
  const api = join(folder, 'api');
  const child = spawn(
    'slirp4netns',
    [
      '--configure',
      '--mtu',
      `${mtu}`,
      '--disable-host-loopback',
      '--ready-fd',
      '3',
      '--api-socket',
      api,
      `${pid}`,
      'tap0',
    ],
    { stdio: ['ignore', 'ignore', 'pipe', 'pipe'] },
  );
  const uplink = new SlirpUplink(child, folder, api);
  try {
    await uplink.ready();
    for (const port of ports) await uplink.publish(port);
    return uplink;
  } catch (error) {
    await uplink[Symbol.asyncDispose]();
    throw error;
  }
}

/** What the API of slirp4netns says. */
interface SlirpAnswer {
  return?: { id?: number };
  error?: { desc?: string };
}

class SlirpUplink implements Uplink {
  readonly program = 'slirp4netns';
  readonly warning = 'slirp4netns copies every packet: expect a fraction of the speed, and IPv4 alone';
  readonly #child: ChildProcess;
  readonly #folder: string;
  readonly #api: string;
  readonly #ids = new Map<string, number>();

  constructor(child: ChildProcess, folder: string, api: string) {
    this.#child = child;
    this.#folder = folder;
    this.#api = api;
  }

  async ready(): Promise<void> {
    const errors = text(this.#child.stderr!);
    const exited = once(this.#child, 'exit').then(() => false);
    const up = once(this.#child.stdio[3]!, 'data').then(() => true);
    if (await Promise.race([up, exited])) return;
    throw new NetworkError('UNSUPPORTED', `slirp4netns ended: ${(await errors).trim()}`);
  }

  async publish({
    protocol,
    hostIp,
    hostPort,
  }: Pick<PublishedPort, 'protocol' | 'hostIp' | 'hostPort'>): Promise<void> {
    const port = { protocol, hostIp, hostPort };
    const answer = await this.#ask('add_hostfwd', {
      proto: protocol,
      host_addr: hostIp,
      host_port: hostPort,
      guest_addr: SLIRP_GUEST,
      guest_port: hostPort,
    });
    if (answer.return?.id === undefined) {
      const reason = answer.error?.desc ?? 'no reason given';
      throw new NetworkError('PORT_IN_USE', `slirp4netns cannot publish ${formatPort(port)}: ${reason}`, {
        ip: hostIp,
        port: hostPort,
        protocol,
      });
    }
    this.#ids.set(formatPort(port), answer.return.id);
  }

  async unpublish(port: Pick<PublishedPort, 'protocol' | 'hostIp' | 'hostPort'>): Promise<void> {
    const id = this.#ids.get(formatPort(port));
    if (id === undefined) return;
    this.#ids.delete(formatPort(port));
    await this.#ask('remove_hostfwd', { id });
  }

  async #ask(execute: string, args: object): Promise<SlirpAnswer> {
    const socket = connect(this.#api);
    socket.end(JSON.stringify({ execute, arguments: args }));
    return JSON.parse(await text(socket)) as SlirpAnswer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const exited = once(this.#child, 'exit');
      this.#child.kill();
      await exited;
    }
    await rm(this.#folder, { recursive: true, force: true });
  }
}

function isInstalled(program: string): boolean {
  return (process.env['PATH'] ?? '').split(':').some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      // not in this one
      return false;
    }
  });
}

/**
 * Host ports: chosen by really binding them, and held bound while they are published, so that every other program on
 * the host gets EADDRINUSE, as it would from a server. The held socket never takes a connection or a datagram, unless
 * it is a proxy's.
 */

import { randomInt } from 'node:crypto';

import type { PortProtocol, PublishedPort } from './driver.ts';
import { NetworkError } from './errors.ts';
import type { NetworkKernel, PortReservation } from './kernel.ts';
import { formatPort, samePort } from './ports.ts';
import { openPortProxy } from './port-proxy.ts';
import { readSysctl } from './sysctl.ts';

/** Host addresses that share one port number, and what it leads to. */
export interface PortRequest {
  protocol: PortProtocol;
  containerPort: number;
  /** undefined for any free port. */
  hostPorts: { from: number; to: number } | undefined;
  /** With `proxy`, this process forwards to that address. */
  hosts: readonly { hostIp: string; proxy?: string }[];
  /** Published without a port of the host: reached at the endpoint's own address. */
  direct?: readonly string[];
}

/** Ports that belong to one endpoint until it gives them back. */
export class HeldPorts {
  readonly ports: PublishedPort[] = [];
  readonly #reservations = new Map<string, PortReservation>();

  /** Keeps a port with what holds it. */
  add(port: PublishedPort, reservation: PortReservation | undefined): void {
    this.ports.push(port);
    if (reservation) this.#reservations.set(keyOf(port), reservation);
  }

  /** Gives some ports back, or every one. Twice is fine. */
  release(ports: readonly PublishedPort[] = [...this.ports]): void {
    for (const port of ports) {
      const at = this.ports.findIndex((held) => samePort(held, port));
      if (at < 0) continue;
      this.ports.splice(at, 1);
      const key = keyOf(port);
      this.#reservations.get(key)?.close();
      this.#reservations.delete(key);
    }
  }

  /** Takes over what another one holds. */
  absorb(other: HeldPorts): void {
    this.ports.push(...other.ports.splice(0));
    for (const [key, reservation] of other.#reservations) this.#reservations.set(key, reservation);
    other.#reservations.clear();
  }
}

/** How often an ephemeral port that is free in one family only is given up for another one. */
const EPHEMERAL_ATTEMPTS = 64;

/** Chooses and holds host ports. */
export class PortAllocator {
  readonly #kernel: Pick<NetworkKernel, 'reservePort' | 'openSocket'>;
  /** SCTP ports by `address port`: the kernel may have no sockets for them. */
  readonly #sctp = new Set<string>();

  constructor(kernel: Pick<NetworkKernel, 'reservePort' | 'openSocket'>) {
    this.#kernel = kernel;
  }

  /**
   * Takes a host port for each request, or none at all.
   *
   * @throws {NetworkError} `INVALID_CONFIG`; `PORT_IN_USE` with the `ip`, `port` and `protocol` that were taken
   */
  hold(requests: readonly PortRequest[]): HeldPorts {
    const held = new HeldPorts();
    try {
      for (const request of requests) this.#holdOne(request, held);
      return held;
    } catch (error) {
      held.release();
      throw error;
    }
  }

  #holdOne(request: PortRequest, held: HeldPorts): void {
    const { protocol, containerPort, hosts, direct = [] } = request;
    for (const hostIp of direct) {
      held.add({ protocol, containerPort, hostIp, hostPort: containerPort }, undefined);
    }
    if (hosts.length === 0) return;
    // port 0: the kernel picks one of net.ipv4.ip_local_port_range
    const { from, to } = request.hostPorts ?? { from: 0, to: EPHEMERAL_ATTEMPTS };
    for (let attempt = from; ; attempt++) {
      const taken: { hostIp: string; reservation: PortReservation }[] = [];
      let port = request.hostPorts ? attempt : 0;
      try {
        for (const { hostIp, proxy } of hosts) {
          const reservation = this.#reserve(request, hostIp, port, proxy);
          taken.push({ hostIp, reservation });
          port = reservation.port;
        }
      } catch (cause) {
        for (const { reservation } of taken) reservation.close();
        const busy = hosts[taken.length]!.hostIp;
        if (!isInUse(cause)) throw unusable(cause, busy);
        if (attempt < to) continue;
        const first = request.hostPorts ? from : port;
        const range = from === to || !request.hostPorts ? '' : ` (nor any other port from ${from} to ${to})`;
        const name = formatPort({ hostIp: busy, hostPort: first, protocol });
        throw new NetworkError('PORT_IN_USE', `host port ${name} is already in use${range}`, {
          cause,
          ip: busy,
          port: first,
          protocol,
        });
      }
      for (const { hostIp, reservation } of taken) {
        held.add({ protocol, containerPort, hostIp, hostPort: port }, reservation);
      }
      return;
    }
  }

  #reserve(
    { protocol, containerPort }: PortRequest,
    hostIp: string,
    port: number,
    proxy?: string,
  ): PortReservation {
    if (protocol === 'sctp') return this.#reserveSctp(hostIp, port);
    if (proxy === undefined) return this.#kernel.reservePort({ protocol, address: hostIp, port });
    const target = { address: proxy, port: containerPort };
    return openPortProxy(this.#kernel, { protocol, hostIp, hostPort: port, target });
  }

  #reserveSctp(hostIp: string, asked: number): PortReservation {
    const [low = 32_768, high = 60_999] = (readSysctl('net/ipv4/ip_local_port_range') ?? '')
      .split(/\s+/)
      .map(Number);
    const port = asked === 0 ? randomInt(low, high + 1) : asked;
    const family = hostIp.includes(':') ? '::' : '0.0.0.0';
    const mine = `${hostIp} ${port}`;
    const conflicts =
      hostIp === family
        ? [...this.#sctp].some((key) => key.endsWith(` ${port}`) && key.includes(':') === mine.includes(':'))
        : this.#sctp.has(mine) || this.#sctp.has(`${family} ${port}`);
    if (conflicts) throw Object.assign(new Error(`SCTP port ${mine} is in use`), { code: 'EADDRINUSE' });
    this.#sctp.add(mine);
    return { port, close: () => void this.#sctp.delete(mine) };
  }
}

function isInUse(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'EADDRINUSE';
}

function unusable(cause: unknown, hostIp: string): unknown {
  if ((cause as NodeJS.ErrnoException).code !== 'EADDRNOTAVAIL') return cause;
  return new NetworkError('INVALID_CONFIG', `${hostIp} is not an address of this host`, { cause });
}

function keyOf({ protocol, hostIp, hostPort }: PublishedPort): string {
  return `${protocol} ${hostIp} ${hostPort}`;
}

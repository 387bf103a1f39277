/**
 * Host ports: chosen by really binding them, and held bound while they are published, so that every other program on
 * the host gets EADDRINUSE, as it would from a server. The held socket never takes a connection or a datagram.
 */

import type { PortMapping, PublishedPort } from './driver.ts';
import { NetworkError } from './errors.ts';
import type { NetworkKernel, PortReservation } from './kernel.ts';
import { checkPortMapping, formatPort, type CheckedPortMapping } from './ports.ts';

/** Ports that belong to one endpoint until it gives them back. */
export interface HeldPorts {
  readonly ports: PublishedPort[];
  /** Gives every port back. Twice is fine. */
  release(): void;
}

/** Chooses and holds host ports. */
export class PortAllocator {
  readonly #kernel: Pick<NetworkKernel, 'reservePort'>;

  constructor(kernel: Pick<NetworkKernel, 'reservePort'>) {
    this.#kernel = kernel;
  }

  /**
   * Takes a host port for each mapping, or none at all.
   *
   * @throws {NetworkError} `INVALID_CONFIG`; `PORT_IN_USE` with the `ip`, `port` and `protocol` that were taken
   */
  hold(mappings: readonly PortMapping[]): HeldPorts {
    const checked = mappings.map((mapping) => checkPortMapping(mapping));
    const reservations: PortReservation[] = [];
    const release = () => {
      for (const reservation of reservations.splice(0)) reservation.close();
    };
    try {
      const ports = checked.map((mapping) => {
        const reservation = this.#reserve(mapping);
        reservations.push(reservation);
        const { protocol, containerPort, hostIp } = mapping;
        return { protocol, containerPort, hostIp, hostPort: reservation.port };
      });
      return { ports, release };
    } catch (error) {
      release();
      throw error;
    }
  }

  #reserve({ protocol, hostIp, hostPorts }: CheckedPortMapping): PortReservation {
    // port 0: the kernel picks one of net.ipv4.ip_local_port_range
    const { from, to } = hostPorts ?? { from: 0, to: 0 };
    for (let port = from; ; port++) {
      try {
        return this.#kernel.reservePort({ protocol, address: hostIp, port });
      } catch (cause) {
        const code = (cause as NodeJS.ErrnoException).code;
        if (code === 'EADDRNOTAVAIL') {
          throw new NetworkError('INVALID_CONFIG', `${hostIp} is not an address of this host`, { cause });
        }
        if (code !== 'EADDRINUSE') throw cause;
        if (port < to) continue;
        const range = from === to ? '' : ` (nor any other port from ${from} to ${to})`;
        const name = formatPort({ hostIp, hostPort: from, protocol });
        throw new NetworkError('PORT_IN_USE', `host port ${name} is already in use${range}`, {
          cause,
          ip: hostIp,
          port: from,
          protocol,
        });
      }
    }
  }
}

/** Tracked connections that a change has made wrong, forgotten so that their next packet is looked at anew. */

import type { NetworkKernel } from './kernel.ts';
import { NetlinkConnection } from './netlink/connection.ts';
import { deleteFlow, deleteFlowsOf, deleteFlowsToPort, listFlows } from './netlink/conntrack.ts';
import { AF } from './netlink/ip-address.ts';
import type { NetlinkRequest } from './netlink/message.ts';

/** Flows that are deleted in one piece: their acknowledgements fit every receive buffer. */
const DELETIONS_AT_ONCE = 64;

/** The connections that this process's network namespace tracks. */
export class Flows {
  readonly #kernel: Pick<NetworkKernel, 'openNetlink'>;
  #connection: NetlinkConnection | undefined;
  #deletesByFilter = true;

  constructor(kernel: Pick<NetworkKernel, 'openNetlink'>) {
    this.#kernel = kernel;
  }

  /** Forgets what addresses began and what they answer. */
  async forgetAddresses(addresses: readonly string[]): Promise<void> {
    await this.#forget(
      addresses.flatMap((address) => [deleteFlowsOf(address, 'began'), deleteFlowsOf(address, 'answers')]),
    );
  }

  /** Forgets what was opened to ports. */
  async forgetPorts(ports: readonly { family: 4 | 6; protocol: number; port: number }[]): Promise<void> {
    await this.#forget(
      ports.map(({ family, protocol, port }) =>
        deleteFlowsToPort({ family: family === 4 ? AF.INET : AF.INET6, protocol, port }),
      ),
    );
  }

  close(): void {
    this.#connection?.close();
    this.#connection = undefined;
  }

  /** Deletes flows by a filter, or one by one where the kernel can only list by it. */
  async #forget(deletions: readonly NetlinkRequest[]): Promise<void> {
    if (deletions.length === 0) return;
    this.#connection ??= new NetlinkConnection(this.#kernel.openNetlink({ protocol: 'netfilter' }));
    const connection = this.#connection;
    if (this.#deletesByFilter) {
      const errors = (await connection.sendEach(deletions)).filter(
        (error) => error && error.code !== 'ENOENT',
      );
      if (errors.length === 0) return;
      if (errors[0]!.code !== 'EINVAL') throw errors[0]!;
      this.#deletesByFilter = false;
    }
    for (const deletion of deletions) {
      const flows = await connection.ask(listFlows(deletion));
      for (let at = 0; at < flows.length; at += DELETIONS_AT_ONCE) {
        await connection.send(flows.slice(at, at + DELETIONS_AT_ONCE).map(deleteFlow), {
          ignore: ['ENOENT'],
        });
      }
    }
  }
}

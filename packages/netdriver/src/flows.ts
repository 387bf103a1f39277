/** Tracked connections that a change has made wrong, forgotten so that their next packet is looked at anew. */

import type { NetworkKernel } from './kernel.ts';
import { NetlinkConnection } from './netlink/connection.ts';
import {
  deleteFlow,
  deleteFlowsOf,
  deleteFlowsToPort,
  listAllFlows,
  listFlows,
  partiesOf,
} from './netlink/conntrack.ts';
import { addressBytes, addressFamily, AF } from './netlink/ip-address.ts';
import type { NetlinkMessage, NetlinkRequest } from './netlink/message.ts';
import { Gathering } from './operation-order.ts';
import { readSysctl } from './sysctl.ts';

/** Flows that are deleted in one piece: their acknowledgements fit every receive buffer. */
const DELETIONS_AT_ONCE = 64;

/**
 * A filter makes the kernel walk all of its table, 0.3 ms on a large host and twice for an address. Listing takes 7 ms,
 * as it locks each of the table's buckets, and 5 µs a flow here: sooner done for so many addresses, if few flows are there.
 */
const LISTED_FROM = 24;
const LISTED_PER_ADDRESS = 50;

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
    await this.#leaving.add(addresses);
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

  readonly #leaving = new Gathering<string>(async (addresses) => {
    const tracked = Number(readSysctl('net/netfilter/nf_conntrack_count') ?? Infinity);
    if (addresses.length >= LISTED_FROM && tracked <= addresses.length * LISTED_PER_ADDRESS) {
      await this.#forgetListed(addresses);
    } else {
      await this.#forget(
        addresses.flatMap((address) => [deleteFlowsOf(address, 'began'), deleteFlowsOf(address, 'answers')]),
      );
    }
  });

  async #forgetListed(addresses: readonly string[]): Promise<void> {
    const keys = new Set(addresses.map((address) => keyOf(addressBytes(address))));
    const families = new Set(addresses.map((address) => addressFamily(addressBytes(address))));
    for (const family of families) {
      const flows = await this.#connect().ask(listAllFlows(family));
      await this.#deleteEach(flows.filter((flow) => partiesOf(flow).some((party) => keys.has(keyOf(party)))));
    }
  }

  /** Deletes flows by a filter, or one by one where the kernel can only list by it. */
  async #forget(deletions: readonly NetlinkRequest[]): Promise<void> {
    if (deletions.length === 0) return;
    const connection = this.#connect();
    if (this.#deletesByFilter) {
      const errors = (await connection.sendEach(deletions)).filter(
        (error) => error && error.code !== 'ENOENT',
      );
      if (errors.length === 0) return;
      if (errors[0]!.code !== 'EINVAL') throw errors[0]!;
      this.#deletesByFilter = false;
    }
    for (const deletion of deletions) {
      await this.#deleteEach(await connection.ask(listFlows(deletion)));
    }
  }

  async #deleteEach(flows: readonly NetlinkMessage[]): Promise<void> {
    for (let at = 0; at < flows.length; at += DELETIONS_AT_ONCE) {
      await this.#connect().send(flows.slice(at, at + DELETIONS_AT_ONCE).map(deleteFlow), {
        ignore: ['ENOENT'],
      });
    }
  }

  #connect(): NetlinkConnection {
    this.#connection ??= new NetlinkConnection(this.#kernel.openNetlink({ protocol: 'netfilter' }));
    return this.#connection;
  }
}

function keyOf(bytes: Uint8Array): string {
  return bytes.toString();
}

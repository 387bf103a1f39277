/** Leads port 53 of the name server's address in a sandbox to the port that it really has. */
import { NetdriverError } from '../errors.ts';
import type { NetworkKernel } from '../kernel.ts';
import { NetlinkConnection } from '../netlink/connection.ts';
import { addressBytes } from '../netlink/ip-address.ts';
import { batch } from '../nftables/batch.ts';
import { compare, constant, destinationNat, meta, payload, REGISTER } from '../nftables/expression.ts';
import {
  addChain,
  addRule,
  addTable,
  deleteTable,
  getTable,
  HOOK,
  NFPROTO,
  portBytes,
  PRIORITY,
  type TableId,
} from '../nftables/message.ts';
import { PROTOCOL_NUMBER } from '../ports.ts';

const TABLE: TableId = { family: NFPROTO.IPV4, name: 'tare-dns' };
const CHAIN = 'output';
const DESTINATION_ADDRESS = 16;
const DESTINATION_PORT = 2;
const DNS_PORT = 53;

/**
 * Redirects, in place of what an earlier server had redirected. The port itself stays free: programs in containers bind
 * port 53 of all addresses.
 */
export async function redirectDns(
  kernel: Pick<NetworkKernel, 'openNetlink'>,
  netns: number,
  address: string,
  ports: { udp: number; tcp: number },
): Promise<void> {
  const connection = new NetlinkConnection(kernel.openNetlink({ protocol: 'netfilter', netns }));
  const ip = addressBytes(address);
  const rule = (protocol: 'udp' | 'tcp') =>
    addRule(TABLE, CHAIN, [
      payload('network', DESTINATION_ADDRESS, 4),
      compare('eq', ip),
      meta('l4proto'),
      compare('eq', Uint8Array.of(PROTOCOL_NUMBER[protocol])),
      payload('transport', DESTINATION_PORT, 2),
      compare('eq', portBytes(DNS_PORT)),
      constant(ip, REGISTER),
      constant(portBytes(ports[protocol]), REGISTER + 1),
      destinationNat(NFPROTO.IPV4, REGISTER, REGISTER + 1),
    ]);
  try {
    await connection.transact(
      batch([
        ...((await exists(connection)) ? [deleteTable(TABLE)] : []),
        addTable(TABLE),
        addChain(TABLE, {
          name: CHAIN,
          hook: { type: 'nat', number: HOOK.OUTPUT, priority: PRIORITY.DSTNAT },
        }),
        rule('udp'),
        rule('tcp'),
      ]),
    );
  } finally {
    connection.close();
  }
}

async function exists(connection: NetlinkConnection): Promise<boolean> {
  try {
    await connection.ask(getTable(TABLE));
    return true;
  } catch (error) {
    if (NetdriverError.is(error) && error.code === 'ENOENT') return false;
    throw error;
  }
}

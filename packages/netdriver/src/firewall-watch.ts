/** Hears of tables that somebody else removes, where the kernel cannot keep them from it. */

import type { NetworkKernel } from './kernel.ts';
import { decodeMessages } from './netlink/message.ts';
import { decodeTable } from './nftables/dump.ts';
import { NFT_MSG, type TableId } from './nftables/message.ts';

/** `NFNLGRP_NFTABLES`. */
const GROUP = 7;

/**
 * Calls `onRemoval` after one of the tables was removed, until disposed. What it throws is left to the next change of
 * the firewall, which meets the same obstacle and tells its caller.
 */
export function watchTables(
  kernel: Pick<NetworkKernel, 'openNetlinkEvents'>,
  tables: readonly TableId[],
  onRemoval: () => Promise<void>,
): Disposable {
  const ended = new AbortController();
  const socket = kernel.openNetlinkEvents({ protocol: 'netfilter', groups: [GROUP] });
  const isOurs = (datagram: Uint8Array): boolean =>
    decodeMessages(datagram).some((message) => {
      if (message.type !== NFT_MSG.DELTABLE) return false;
      const removed = decodeTable(message);
      return tables.some(({ family, name }) => family === removed?.family && name === removed.name);
    });
  const listen = async (): Promise<void> => {
    for (;;) {
      try {
        for await (const datagram of socket.events({ signal: ended.signal })) {
          if (isOurs(datagram)) await onRemoval().catch(() => undefined);
        }
        return;
      } catch (error) {
        if (ended.signal.aborted) return;
        // messages were lost: it may have been ours
        if ((error as NodeJS.ErrnoException).code !== 'ENOBUFS') throw error;
        await onRemoval().catch(() => undefined);
      }
    }
  };
  void listen();
  return {
    [Symbol.dispose]() {
      ended.abort();
      socket.close();
    },
  };
}

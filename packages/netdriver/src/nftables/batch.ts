/** Transactions: requests between BEGIN and END take effect together, or not at all. */

import type { NetlinkRequest } from '../netlink/message.ts';
import { AttributeWriter } from '../netlink/attributes.ts';

/** `NFNL_MSG_BATCH_BEGIN` and `NFNL_MSG_BATCH_END`. */
export const BATCH = { BEGIN: 0x10, END: 0x11 } as const;

const NFNL_SUBSYS_NFTABLES = 10;
const NFNL_BATCH_GENID = 1;

/**
 * Frames requests as one transaction for `NetlinkConnection.transact`. With `generation` the kernel refuses it
 * (ERESTART) when anybody changed the ruleset since that generation was read.
 */
export function batch(
  requests: readonly NetlinkRequest[],
  options?: { generation?: number },
): NetlinkRequest[] {
  const begin = frame();
  if (options?.generation !== undefined) begin.be32(NFNL_BATCH_GENID, options.generation);
  return [
    { description: 'begin batch', type: BATCH.BEGIN, flags: 0, payload: begin.finish() },
    ...requests,
    { description: 'end batch', type: BATCH.END, flags: 0, payload: frame().finish() },
  ];
}

/** `nfgenmsg` whose resource names the subsystem. */
function frame(): AttributeWriter {
  return new AttributeWriter(32).raw(Uint8Array.of(0, 0, 0, NFNL_SUBSYS_NFTABLES));
}

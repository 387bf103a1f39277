/**
 * The network namespace it is run in, for the test run's set-up: `up` brings the loopback up, `tables` prints the names
 * of all nf_tables tables, one a line.
 */
import { bringUpLoopback } from '@tare/netdriver';
import { Attributes, NetlinkConnection, NLM_F } from '@tare/netdriver/netlink';
import { openNetlink } from '@tare/runtime-native/netlink';

/** NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE, from `<linux/netfilter/nf_tables.h>`. */
const GET_TABLE = (10 << 8) | 1;
const NFTA_TABLE_NAME = 1;
/** `struct nfgenmsg`: any family, version 0, no resource. */
const ANY_FAMILY = new Uint8Array(4);

if (process.argv[2] === 'up') await bringUpLoopback('/proc/self/ns/net');
else for (const name of await tables()) process.stdout.write(`${name}\n`);

async function tables(): Promise<string[]> {
  using connection = new NetlinkConnection(openNetlink({ protocol: 'netfilter' }));
  const answers = await connection.ask({
    description: 'list tables',
    type: GET_TABLE,
    flags: NLM_F.DUMP,
    payload: ANY_FAMILY,
  });
  return answers.map(
    ({ payload }) =>
      Attributes.decode(payload.subarray(ANY_FAMILY.length)).string(NFTA_TABLE_NAME) ?? 'without a name',
  );
}

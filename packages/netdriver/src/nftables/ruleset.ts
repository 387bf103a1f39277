/**
 * The rules of container networking: fixed in number, whatever is published. What changes, a network, an endpoint or
 * a port, are elements of sets and maps, so that a packet's way is equally long for one port and for ten thousand.
 *
 * `nft list table inet tare` shows them with their comments.
 */

import { addressBytes } from '../netlink/ip-address.ts';
import type { NetlinkRequest } from '../netlink/message.ts';
import {
  compare,
  ct,
  destinationNat,
  destinationType,
  hostOrder,
  lookup,
  mask,
  masquerade,
  meta,
  payload,
  REGISTER,
  verdict,
  type Expression,
} from './expression.ts';
import {
  addChain,
  addRule,
  addSet,
  FIELD,
  HOOK,
  ifnameBytes,
  NFPROTO,
  PRIORITY,
  type SetDefinition,
  type TableId,
} from './message.ts';

const { IPV4, PROTOCOL, PORT, IFNAME } = FIELD;

/** The sets and maps that the rules look into. */
export const SETS = {
  /** Every bridge. */
  bridges: { name: 'bridges', key: [IFNAME] },
  /** Bridges that nothing is forwarded out of or into. */
  internal: { name: 'internal', key: [IFNAME] },
  /** Bridges whose outgoing traffic gets the host's address. */
  masquerade: { name: 'masquerade', key: [IFNAME] },
  /** Each bridge with itself. */
  same: { name: 'same', key: [IFNAME, IFNAME] },
  /** From a bridge to itself: whether endpoints may talk to each other. */
  pairs: { name: 'pairs', key: [IFNAME, IFNAME], data: 'verdict' },
  /** Endpoints: address and bridge. */
  endpoints4: { name: 'endpoints4', key: [IPV4, IFNAME] },
  /** Published on one host address: address, protocol, port; to container address and port. */
  published4: { name: 'published4', key: [IPV4, PROTOCOL, PORT], data: [IPV4, PORT] },
  /** Published on every host address. */
  published4any: { name: 'published4any', key: [PROTOCOL, PORT], data: [IPV4, PORT] },
  /** Container addresses, protocols and ports that published ports lead to. */
  open4: { name: 'open4', key: [IPV4, PROTOCOL, PORT] },
} as const satisfies Record<string, SetDefinition>;

/** The chain that decides what may be forwarded into a bridge. */
export const INTO_CHAIN = 'into';

const R = REGISTER;
/** Connection state bits (`NF_CT_STATE_BIT`). */
const ESTABLISHED_OR_RELATED = 2 | 4;
/** `IPS_DST_NAT`: the connection's destination was rewritten. */
const STATUS_DNAT = 1 << 5;
/** `RTN_LOCAL`: an address of this host. */
const TYPE_LOCAL = 2;
const V4 = { SOURCE: 12, DESTINATION: 16 } as const;
const DESTINATION_PORT = 2;

const ipv4: Expression[] = [meta('nfproto'), compare('eq', Uint8Array.of(NFPROTO.IPV4))];
const v4Address = (offset: number, register = R) => payload('network', offset, 4, register);
const inLoopbackNetwork = (offset: number): Expression[] => [
  v4Address(offset),
  mask(Uint8Array.of(255, 0, 0, 0)),
  compare('eq', addressBytes('127.0.0.0')),
];
/** Protocol and destination port in two registers. */
const transport = (register: number): Expression[] => [
  meta('l4proto', register),
  payload('transport', DESTINATION_PORT, 2, register + 1),
];
const anyBit = (bits: number): Expression[] => [mask(hostOrder(bits)), compare('neq', hostOrder(0))];
const translated: Expression[] = [ct('status'), ...anyBit(STATUS_DNAT)];
/** Both interface names, four registers each. */
const interfacePair: Expression[] = [meta('iifname', R), meta('oifname', R + 4)];
const accept = verdict({ code: 'accept' });
const drop = verdict({ code: 'drop' });

/** Requests that make the table's sets, chains and rules; the table itself must be there and empty. */
export function fixedRules(table: TableId): NetlinkRequest[] {
  const base = (name: string, type: 'filter' | 'nat', number: number, priority: number) =>
    addChain(table, { name, hook: { type, number, priority } });
  const rule = (chain: string, comment: string, ...expressions: Expression[]) =>
    addRule(table, chain, expressions, comment);
  const local = [
    destinationType(),
    compare('eq', hostOrder(TYPE_LOCAL)),
    verdict({ code: 'jump', chain: 'dnat' }),
  ];

  return [
    ...Object.values(SETS).map((set, i) => addSet(table, set, i + 1)),
    base('raw', 'filter', HOOK.PREROUTING, PRIORITY.RAW),
    base('prerouting', 'nat', HOOK.PREROUTING, PRIORITY.DSTNAT),
    base('output', 'nat', HOOK.OUTPUT, PRIORITY.DSTNAT),
    base('forward', 'filter', HOOK.FORWARD, PRIORITY.FILTER),
    base('postrouting', 'nat', HOOK.POSTROUTING, PRIORITY.SRCNAT),
    addChain(table, { name: 'dnat' }),
    addChain(table, { name: INTO_CHAIN }),

    // before any translation: route_localnet on the bridges would let neighbours in, and so would a port that is
    // published on 127.0.0.1, because translation comes before the kernel's own check for such addresses
    rule(
      'raw',
      "the loopback network is the host's own",
      ...ipv4,
      ...inLoopbackNetwork(V4.DESTINATION),
      meta('iifname'),
      compare('neq', ifnameBytes('lo')),
      drop,
    ),

    // only what is meant for this host: a router forwards other hosts' port 80 too
    rule('prerouting', 'published ports, from outside and from containers', ...local),
    rule('output', 'published ports, from the host itself', ...local),
    rule(
      'dnat',
      'published on one address',
      ...ipv4,
      v4Address(V4.DESTINATION),
      ...transport(R + 1),
      lookup(SETS.published4.name, R),
      destinationNat(NFPROTO.IPV4, R, R + 1),
    ),
    rule(
      'dnat',
      'published on every address',
      ...ipv4,
      ...transport(R),
      lookup(SETS.published4any.name, R),
      destinationNat(NFPROTO.IPV4, R, R + 1),
    ),

    rule('forward', 'known connections', ct('state'), ...anyBit(ESTABLISHED_OR_RELATED), accept),
    rule('forward', 'within one network', ...interfacePair, lookup(SETS.pairs.name, 'verdict')),
    rule('forward', 'out of an internal network', meta('iifname'), lookup(SETS.internal.name), drop),
    rule('forward', 'into an internal network', meta('oifname'), lookup(SETS.internal.name), drop),
    rule(
      'forward',
      'into a network',
      meta('oifname'),
      lookup(SETS.bridges.name),
      verdict({ code: 'goto', chain: INTO_CHAIN }),
    ),
    rule('forward', 'out of a network', meta('iifname'), lookup(SETS.bridges.name), accept),

    rule(
      INTO_CHAIN,
      'published ports, by way of the host',
      ...translated,
      ...ipv4,
      v4Address(V4.DESTINATION),
      ...transport(R + 1),
      lookup(SETS.open4.name),
      accept,
    ),
    rule(INTO_CHAIN, 'everything else', drop),

    // by address, not by incoming interface: bridged packets have none here when bridge-nf-call-iptables is on
    rule(
      'postrouting',
      'a container to a published port of its own network',
      ...translated,
      ...ipv4,
      v4Address(V4.SOURCE),
      meta('oifname', R + 1),
      lookup(SETS.endpoints4.name),
      masquerade(),
    ),
    rule('postrouting', 'within one network', ...interfacePair, lookup(SETS.same.name), accept),
    rule(
      'postrouting',
      "the host's 127.0.0.1 to a published port",
      ...ipv4,
      ...inLoopbackNetwork(V4.SOURCE),
      meta('oifname'),
      lookup(SETS.bridges.name),
      masquerade(),
    ),
    rule('postrouting', 'out of a network', meta('iifname'), lookup(SETS.masquerade.name), masquerade()),
  ];
}

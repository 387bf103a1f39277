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
  sourceNat,
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

const { IPV4, IPV6, PROTOCOL, PORT, IFNAME } = FIELD;
const FAMILY = FIELD.NFPROTO;

/** The sets and maps that the rules look into. */
export const SETS = {
  /** Every bridge. */
  bridges: { name: 'bridges', key: [IFNAME] },
  /** Bridges that nothing is forwarded out of or into. */
  internal: { name: 'internal', key: [IFNAME] },
  /** Families and bridges whose outgoing traffic gets the host's address. */
  masquerade: { name: 'masquerade', key: [FAMILY, IFNAME] },
  /** Bridges whose outgoing traffic gets a certain address. */
  source4: { name: 'source4', key: [IFNAME], data: [IPV4] },
  source6: { name: 'source6', key: [IFNAME], data: [IPV6] },
  /** Each bridge with itself. */
  same: { name: 'same', key: [IFNAME, IFNAME] },
  /** From a bridge to itself: whether endpoints may talk to each other. */
  pairs: { name: 'pairs', key: [IFNAME, IFNAME], data: 'verdict' },
  /** Families and bridges whose published ports are reached without translation. */
  routed: { name: 'routed', key: [FAMILY, IFNAME] },
  /** Families and bridges whose every port is reached by who has a route. */
  unprotected: { name: 'unprotected', key: [FAMILY, IFNAME] },
  /** Interfaces of the host, and bridges whose every port is reached from there. */
  trusted: { name: 'trusted', key: [IFNAME, IFNAME] },
  /** Endpoints: address and bridge. */
  endpoints4: { name: 'endpoints4', key: [IPV4, IFNAME] },
  endpoints6: { name: 'endpoints6', key: [IPV6, IFNAME] },
  /** Published on one host address: address, protocol, port; to container address and port. */
  published4: { name: 'published4', key: [IPV4, PROTOCOL, PORT], data: [IPV4, PORT] },
  published6: { name: 'published6', key: [IPV6, PROTOCOL, PORT], data: [IPV6, PORT] },
  /** Published on every host address. */
  published4any: { name: 'published4any', key: [PROTOCOL, PORT], data: [IPV4, PORT] },
  published6any: { name: 'published6any', key: [PROTOCOL, PORT], data: [IPV6, PORT] },
  /** Container addresses, protocols and ports that published ports lead to. */
  open4: { name: 'open4', key: [IPV4, PROTOCOL, PORT] },
  open6: { name: 'open6', key: [IPV6, PROTOCOL, PORT] },
} as const satisfies Record<string, SetDefinition>;

/** The chain that decides what may be forwarded into a bridge. */
export const INTO_CHAIN = 'into';

/** What the rules depend on beside the elements. */
export interface RulesetOptions {
  /** Packets with this mark are let into every network. */
  acceptMark: number;
  /** Whether the host's ::1 is translated: not where bridged packets are filtered, since answers would be lost. */
  loopback6: boolean;
}

const R = REGISTER;
/** Connection state bits (`NF_CT_STATE_BIT`). */
const ESTABLISHED_OR_RELATED = 2 | 4;
/** `IPS_DST_NAT`: the connection's destination was rewritten. */
const STATUS_DNAT = 1 << 5;
/** `RTN_LOCAL`: an address of this host. */
const TYPE_LOCAL = 2;
const DESTINATION_PORT = 2;

/** What differs between the families. */
const V4 = { proto: NFPROTO.IPV4, source: 12, destination: 16, bytes: 4, icmp: 1, suffix: 4 } as const;
const V6 = { proto: NFPROTO.IPV6, source: 8, destination: 24, bytes: 16, icmp: 58, suffix: 6 } as const;
type Family = typeof V4 | typeof V6;

const isFamily = ({ proto }: Family): Expression[] => [meta('nfproto'), compare('eq', Uint8Array.of(proto))];
const address = ({ bytes }: Family, offset: number, register = R) =>
  payload('network', offset, bytes, register);
/** The register behind an address. */
const behind = ({ bytes }: Family): number => R + bytes / 4;
const inLoopbackNetwork = (family: Family, offset: number): Expression[] =>
  family === V4
    ? [address(V4, offset), mask(Uint8Array.of(255, 0, 0, 0)), compare('eq', addressBytes('127.0.0.0'))]
    : [address(V6, offset), compare('eq', addressBytes('::1'))];
/** Protocol and destination port in two registers. */
const transport = (register: number): Expression[] => [
  meta('l4proto', register),
  payload('transport', DESTINATION_PORT, 2, register + 1),
];
const anyBit = (bits: number): Expression[] => [mask(hostOrder(bits)), compare('neq', hostOrder(0))];
const translated: Expression[] = [ct('status'), ...anyBit(STATUS_DNAT)];
/** Both interface names, four registers each. */
const interfacePair: Expression[] = [meta('iifname', R), meta('oifname', R + 4)];
/** The family and an interface name. */
const familyAnd = (name: 'iifname' | 'oifname'): Expression[] => [meta('nfproto', R), meta(name, R + 1)];
const accept = verdict({ code: 'accept' });
const drop = verdict({ code: 'drop' });

/** Requests that make the table's sets, chains and rules; the table itself must be there and empty. */
export function fixedRules(table: TableId, { acceptMark, loopback6 }: RulesetOptions): NetlinkRequest[] {
  const base = (name: string, type: 'filter' | 'nat', number: number, priority: number) =>
    addChain(table, { name, hook: { type, number, priority } });
  const rule = (chain: string, comment: string, ...expressions: Expression[]) =>
    addRule(table, chain, expressions, comment);
  const both = (make: (family: Family) => NetlinkRequest): NetlinkRequest[] => [make(V4), make(V6)];
  const local = [
    destinationType(),
    compare('eq', hostOrder(TYPE_LOCAL)),
    verdict({ code: 'jump', chain: 'dnat' }),
  ];
  const isOpen = (family: Family): Expression[] => [
    address(family, family.destination),
    ...transport(behind(family)),
    lookup(SETS[`open${family.suffix}`].name),
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
    ...both((family) =>
      rule(
        'raw',
        "the loopback network is the host's own",
        ...isFamily(family),
        ...inLoopbackNetwork(family, family.destination),
        meta('iifname'),
        compare('neq', ifnameBytes('lo')),
        drop,
      ),
    ),

    // only what is meant for this host: a router forwards other hosts' port 80 too
    rule('prerouting', 'published ports, from outside and from containers', ...local),
    ...(loopback6
      ? []
      : [
          rule(
            'output',
            'answers to ::1 would be lost',
            ...isFamily(V6),
            ...inLoopbackNetwork(V6, V6.destination),
            verdict({ code: 'return' }),
          ),
        ]),
    rule('output', 'published ports, from the host itself', ...local),
    ...both((family) =>
      rule(
        'dnat',
        'published on one address',
        ...isFamily(family),
        address(family, family.destination),
        ...transport(behind(family)),
        lookup(SETS[`published${family.suffix}`].name, R),
        destinationNat(family.proto, R, behind(family)),
      ),
    ),
    ...both((family) =>
      rule(
        'dnat',
        'published on every address',
        ...isFamily(family),
        ...transport(R),
        lookup(SETS[`published${family.suffix}any`].name, R),
        destinationNat(family.proto, R, behind(family)),
      ),
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

    ...both((family) =>
      rule(
        INTO_CHAIN,
        'published ports, by way of the host',
        ...translated,
        ...isFamily(family),
        ...isOpen(family),
        accept,
      ),
    ),
    rule(
      INTO_CHAIN,
      'let in by an administrator',
      meta('mark'),
      compare('eq', hostOrder(acceptMark)),
      accept,
    ),
    ...both((family) =>
      rule(
        INTO_CHAIN,
        'published ports of a routed network',
        ...isFamily(family),
        ...familyAnd('oifname'),
        lookup(SETS.routed.name),
        ...isOpen(family),
        accept,
      ),
    ),
    ...both((family) =>
      rule(
        INTO_CHAIN,
        'echo and errors of a routed network',
        ...isFamily(family),
        ...familyAnd('oifname'),
        lookup(SETS.routed.name),
        meta('l4proto'),
        compare('eq', Uint8Array.of(family.icmp)),
        accept,
      ),
    ),
    rule(INTO_CHAIN, 'from another network', meta('iifname'), lookup(SETS.bridges.name), drop),
    rule(
      INTO_CHAIN,
      'open to those with a route',
      ...familyAnd('oifname'),
      lookup(SETS.unprotected.name),
      accept,
    ),
    rule(INTO_CHAIN, 'open to an interface', ...interfacePair, lookup(SETS.trusted.name), accept),
    rule(INTO_CHAIN, 'everything else', drop),

    // by address, not by incoming interface: bridged packets have none here when bridge-nf-call-iptables is on
    ...both((family) =>
      rule(
        'postrouting',
        'a container to a published port of its own network',
        ...translated,
        ...isFamily(family),
        address(family, family.source),
        meta('oifname', behind(family)),
        lookup(SETS[`endpoints${family.suffix}`].name),
        masquerade(),
      ),
    ),
    rule('postrouting', 'within one network', ...interfacePair, lookup(SETS.same.name), accept),
    ...both((family) =>
      rule(
        'postrouting',
        "the host's loopback to a published port",
        ...isFamily(family),
        ...inLoopbackNetwork(family, family.source),
        meta('oifname'),
        lookup(SETS.bridges.name),
        masquerade(),
      ),
    ),
    ...both((family) =>
      rule(
        'postrouting',
        'out of a network with an address of its own',
        ...isFamily(family),
        meta('iifname'),
        lookup(SETS[`source${family.suffix}`].name, R),
        sourceNat(family.proto, R),
      ),
    ),
    rule(
      'postrouting',
      'out of a network',
      ...familyAnd('iifname'),
      lookup(SETS.masquerade.name),
      masquerade(),
    ),
  ];
}

/**
 * The rules on the bridges themselves: no endpoint passes for another one, for its network's gateway or for a router.
 * Whatever addresses nobody of the network has may be used freely, as programs do that share an address between them.
 *
 * A table of the bridge family sees the frames before they are learned from, and also those that never leave the bridge.
 */

import type { NetlinkRequest } from '../netlink/message.ts';
import { compare, lookup, meta, notIn, payload, REGISTER, verdict, type Expression } from './expression.ts';
import {
  addChain,
  addRule,
  addSet,
  FIELD,
  HOOK,
  PRIORITY,
  type SetDefinition,
  type TableId,
} from './message.ts';

const { IFNAME, IPV4, IPV6, MAC } = FIELD;

/** The sets that the rules look into. `owned` are addresses that somebody has, `own` who may use them. */
export const GUARD_SETS = {
  /** The bridges' ports that lead to endpoints. */
  ports: { name: 'ports', key: [IFNAME] },
  owned4: { name: 'owned4', key: [IPV4] },
  own4: { name: 'own4', key: [IFNAME, IPV4] },
  owned6: { name: 'owned6', key: [IPV6] },
  own6: { name: 'own6', key: [IFNAME, IPV6] },
  ownedMac: { name: 'ownedMac', key: [MAC] },
  ownMac: { name: 'ownMac', key: [IFNAME, MAC] },
  /** Who uses what is its own, all in one: what nearly every frame is. */
  self4: { name: 'self4', key: [IFNAME, MAC, IPV4] },
  self6: { name: 'self6', key: [IFNAME, MAC, IPV6] },
} as const satisfies Record<string, SetDefinition>;

const R = REGISTER;
const CHAIN = 'prerouting';
/** An interface name takes four registers, a MAC address two. */
const BEHIND_NAME = R + 4;
const BEHIND_MAC = BEHIND_NAME + 2;
const ETHERTYPE = {
  IPV4: Uint8Array.of(0x08, 0x00),
  ARP: Uint8Array.of(0x08, 0x06),
  IPV6: Uint8Array.of(0x86, 0xdd),
};
const ICMPV6 = Uint8Array.of(58);
/** Router advertisement, neighbour advertisement, redirect. */
const ND = { ROUTER: 134, NEIGHBOUR: 136, REDIRECT: 137 } as const;
const SOURCE_MAC = (register = R): Expression => payload('link', 6, 6, register);
const ARP_SENDER = (register = R): Expression => payload('network', 14, 4, register);
const SOURCE4 = (register = R): Expression => payload('network', 12, 4, register);
const SOURCE6 = (register = R): Expression => payload('network', 8, 16, register);
const ND_TARGET = (register = R): Expression => payload('transport', 8, 16, register);
const accept = verdict({ code: 'accept' });
const drop = verdict({ code: 'drop' });

/** Requests that make the table's sets, chain and rules; the table itself must be there and empty. */
export function guardRules(table: TableId): NetlinkRequest[] {
  const rule = (comment: string, ...expressions: Expression[]) => addRule(table, CHAIN, expressions, comment);
  const protocol = (type: Uint8Array): Expression[] => [meta('protocol'), compare('eq', type)];
  /** Whether a field holds what somebody has, and is sent by somebody else. */
  const stolen = (
    field: (register?: number) => Expression,
    owned: SetDefinition,
    own: SetDefinition,
  ): Expression[] => [field(), lookup(owned.name), meta('iifname', R), field(BEHIND_NAME), notIn(own.name)];
  const discovery = (type: number): Expression[] => [
    ...protocol(ETHERTYPE.IPV6),
    meta('l4proto'),
    compare('eq', ICMPV6),
    payload('transport', 0, 1),
    compare('eq', Uint8Array.of(type)),
  ];
  /** Whether port, MAC address and address are one endpoint's. */
  const honest = (field: (register?: number) => Expression, self: SetDefinition): Expression[] => [
    meta('iifname', R),
    SOURCE_MAC(BEHIND_NAME),
    field(BEHIND_MAC),
    lookup(self.name),
  ];
  const { ports, owned4, own4, owned6, own6, ownedMac, ownMac, self4, self6 } = GUARD_SETS;
  return [
    ...Object.values(GUARD_SETS).map((set, i) => addSet(table, set, i + 1)),
    addChain(table, {
      name: CHAIN,
      hook: { type: 'filter', number: HOOK.PREROUTING, priority: PRIORITY.RAW },
    }),
    rule('its own address', ...protocol(ETHERTYPE.IPV4), ...honest(SOURCE4, self4), accept),
    rule(
      'its own address',
      ...protocol(ETHERTYPE.IPV6),
      // neighbour discovery makes claims in its body
      meta('l4proto'),
      compare('neq', ICMPV6),
      ...honest(SOURCE6, self6),
      accept,
    ),
    rule("another one's MAC address", ...stolen(SOURCE_MAC, ownedMac, ownMac), drop),
    rule("another one's address", ...protocol(ETHERTYPE.IPV4), ...stolen(SOURCE4, owned4, own4), drop),
    rule("another one's address", ...protocol(ETHERTYPE.IPV6), ...stolen(SOURCE6, owned6, own6), drop),
    rule(
      "claims another one's address",
      ...protocol(ETHERTYPE.ARP),
      ...stolen(ARP_SENDER, owned4, own4),
      drop,
    ),
    rule(
      "claims another one's address",
      ...discovery(ND.NEIGHBOUR),
      ...stolen(ND_TARGET, owned6, own6),
      drop,
    ),
    ...[ND.ROUTER, ND.REDIRECT].map((type) =>
      rule('claims to be a router', ...discovery(type), meta('iifname'), lookup(ports.name), drop),
    ),
  ];
}

/**
 * Links: bridges, veth pairs, their flags and their settings as bridge ports.
 *
 * See rtnetlink(7), `<linux/if_link.h>` and `<linux/if_bridge.h>`.
 */

import { NetlinkDecodeError } from '../errors.ts';
import { Attributes, AttributeWriter } from './attributes.ts';
import { AF } from './ip-address.ts';
import { NLM_F, type NetlinkMessage, type NetlinkRequest } from './message.ts';

/** Message types (`RTM_*`). */
export const RTM_LINK = { NEW: 16, DEL: 17, GET: 18, SET: 19 } as const;

/** Interface flags. */
export const IFF = { UP: 0x1, LOOPBACK: 0x8, RUNNING: 0x40 } as const;

/** Operational states (`IF_OPER_*`, RFC 2863). */
export const OPERSTATE = { UNKNOWN: 0, DOWN: 2, UP: 6 } as const;

/** Bridge port states (`BR_STATE_*`). */
export const PORT_STATE = { DISABLED: 0, FORWARDING: 3 } as const;

const IFLA = {
  ADDRESS: 1,
  IFNAME: 3,
  MTU: 4,
  LINK: 5,
  MASTER: 10,
  PROTINFO: 12,
  OPERSTATE: 16,
  LINKINFO: 18,
  IFALIAS: 20,
  AF_SPEC: 26,
  GROUP: 27,
  NET_NS_FD: 28,
} as const;
const IFLA_INFO = { KIND: 1, DATA: 2, SLAVE_KIND: 4, SLAVE_DATA: 5 } as const;
const IFLA_BR = { FORWARD_DELAY: 1, STP_STATE: 5, MCAST_SNOOPING: 23 } as const;
const IFLA_INET6_ADDR_GEN_MODE = 8;
const IN6_ADDR_GEN_MODE_NONE = 1;
const IFLA_BRPORT = { STATE: 1, MODE: 4, ISOLATED: 33 } as const;
const VETH_INFO_PEER = 1;
const IFLA_MACVLAN_MODE = 1;
const IFLA_IPVLAN = { MODE: 1, FLAGS: 2 } as const;
const IFLA_VLAN_ID = 1;

/** Modes of macvlan links (`MACVLAN_MODE_*`). */
export const MACVLAN_MODE = { private: 1, vepa: 2, bridge: 4, passthru: 8 } as const;
/** Modes of ipvlan links (`IPVLAN_MODE_*`). */
export const IPVLAN_MODE = { l2: 0, l3: 1, l3s: 2 } as const;
/** Whom ipvlan links of one parent talk to (`IPVLAN_F_*`). */
export const IPVLAN_FLAG = { bridge: 0, private: 1, vepa: 2 } as const;

/** A link as the kernel reports it. */
export interface Link {
  index: number;
  name: string;
  flags: number;
  mtu: number | undefined;
  /** `02:42:ac:11:00:02`. */
  macAddress: string | undefined;
  /** `bridge`, `veth`, ...; undefined for real devices and loopback. */
  kind: string | undefined;
  /** Index of the bridge that it is a port of. */
  master: number | undefined;
  group: number;
  alias: string | undefined;
  operState: number | undefined;
  /** State as a bridge port, see {@link PORT_STATE}. */
  portState: number | undefined;
}

/** Which link a request is about. */
export type LinkSelector = { index: number } | { name: string };

/** The bytes of `02:42:ac:11:00:02`. @throws {RangeError} when it is not a MAC address */
export function macBytes(text: string): Uint8Array {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text)) throw new RangeError(`"${text}" is not a MAC address`);
  return Uint8Array.from(text.split(':'), (part) => Number.parseInt(part, 16));
}

/** The text of a MAC address. */
export function macText(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(':');
}

/** A bridge to create: no spanning tree, no forwarding delay. It comes up with {@link setLink}. */
export function createBridge(options: {
  name: string;
  macAddress: string;
  mtu: number;
  group: number;
}): NetlinkRequest {
  const { name, macAddress, mtu, group } = options;
  const body = linkBody(AF.UNSPEC, {})
    .string(IFLA.IFNAME, name)
    .bytes(IFLA.ADDRESS, macBytes(macAddress))
    .u32(IFLA.MTU, mtu)
    .u32(IFLA.GROUP, group)
    .nested(IFLA.LINKINFO, (info) =>
      info.string(IFLA_INFO.KIND, 'bridge').nested(IFLA_INFO.DATA, (data) =>
        data
          .u32(IFLA_BR.STP_STATE, 0)
          // centiseconds; 0 makes a new port forward at once
          .u32(IFLA_BR.FORWARD_DELAY, 0),
      ),
    );
  return request(`create bridge ${name}`, RTM_LINK.NEW, NLM_F.CREATE | NLM_F.EXCL, body);
}

/**
 * A veth pair in one message: this end up, and in a bridge if wanted, the peer down (the kernel answers ENOTCONN to a peer that
 * is born up) and straight in another namespace.
 */
export function createVeth(options: {
  name: string;
  macAddress?: string;
  mtu: number;
  group: number;
  /** Index of the bridge that this end becomes a port of; none when absent. */
  master?: number;
  peer: {
    name: string;
    macAddress: string;
    /** Open descriptor of the namespace; the caller's own when absent. */
    namespaceFd?: number;
  };
}): NetlinkRequest {
  const { name, macAddress, mtu, group, master, peer } = options;
  const body = linkBody(AF.UNSPEC, { flags: IFF.UP, change: IFF.UP }).string(IFLA.IFNAME, name);
  if (macAddress) body.bytes(IFLA.ADDRESS, macBytes(macAddress));
  if (master !== undefined) body.u32(IFLA.MASTER, master);
  body
    .u32(IFLA.MTU, mtu)
    .u32(IFLA.GROUP, group)
    .nested(IFLA.LINKINFO, (info) =>
      info.string(IFLA_INFO.KIND, 'veth').nested(IFLA_INFO.DATA, (data) =>
        data.nested(VETH_INFO_PEER, (end) => {
          end
            .raw(linkHeader(AF.UNSPEC, {}))
            .string(IFLA.IFNAME, peer.name)
            .bytes(IFLA.ADDRESS, macBytes(peer.macAddress))
            .u32(IFLA.MTU, mtu);
          if (peer.namespaceFd !== undefined) end.u32(IFLA.NET_NS_FD, peer.namespaceFd);
        }),
      ),
    );
  return request(`create veth ${name} (peer ${peer.name})`, RTM_LINK.NEW, NLM_F.CREATE | NLM_F.EXCL, body);
}

/** A link that shares its parent's wire. */
interface ChildLinkOptions {
  name: string;
  /** Index of the parent, in the namespace that is asked. */
  parent: number;
  mtu?: number;
  group?: number;
  /** Open descriptor of the namespace that the link is to be in; that of the parent when absent. */
  namespaceFd?: number;
}

/** A link with a MAC address of its own on its parent's wire. */
export function createMacvlan(
  options: ChildLinkOptions & { macAddress: string; mode: keyof typeof MACVLAN_MODE },
): NetlinkRequest {
  return createChild('macvlan', options, (data) => data.u32(IFLA_MACVLAN_MODE, MACVLAN_MODE[options.mode]));
}

/** A link with its parent's MAC address and IP addresses of its own. */
export function createIpvlan(
  options: ChildLinkOptions & { mode: keyof typeof IPVLAN_MODE; flag?: keyof typeof IPVLAN_FLAG },
): NetlinkRequest {
  // the parent's MAC address is its own, whatever the options of a caller in JavaScript hold
  return createChild('ipvlan', { ...options, macAddress: undefined }, (data) =>
    data
      .u16(IFLA_IPVLAN.MODE, IPVLAN_MODE[options.mode])
      .u16(IFLA_IPVLAN.FLAGS, IPVLAN_FLAG[options.flag ?? 'bridge']),
  );
}

/** A link for the frames of its parent that carry a tag (802.1Q). */
export function createVlan(options: ChildLinkOptions & { vlanId: number }): NetlinkRequest {
  return createChild('vlan', options, (data) => data.u16(IFLA_VLAN_ID, options.vlanId));
}

function createChild(
  kind: string,
  {
    name,
    parent,
    mtu,
    group,
    namespaceFd,
    macAddress,
  }: ChildLinkOptions & { macAddress?: string | undefined },
  fill: (data: AttributeWriter) => unknown,
): NetlinkRequest {
  const body = linkBody(AF.UNSPEC, {}).string(IFLA.IFNAME, name).u32(IFLA.LINK, parent);
  if (macAddress !== undefined) body.bytes(IFLA.ADDRESS, macBytes(macAddress));
  if (mtu !== undefined) body.u32(IFLA.MTU, mtu);
  if (group !== undefined) body.u32(IFLA.GROUP, group);
  if (namespaceFd !== undefined) body.u32(IFLA.NET_NS_FD, namespaceFd);
  body.nested(IFLA.LINKINFO, (info) => info.string(IFLA_INFO.KIND, kind).nested(IFLA_INFO.DATA, fill));
  return request(`create ${kind} ${name}`, RTM_LINK.NEW, NLM_F.CREATE | NLM_F.EXCL, body);
}

/** Changes what is given and nothing else. A link chosen by index takes `name` as its new name. */
export function setLink(
  link: LinkSelector,
  changes: {
    up?: boolean;
    mtu?: number;
    macAddress?: string;
    master?: number;
    group?: number;
    alias?: string;
    name?: string;
    /** Gives itself no IPv6 address; without IPv6 the kernel answers EAFNOSUPPORT. */
    withoutOwnIpv6?: true;
  },
): NetlinkRequest {
  const header: { index?: number; flags?: number; change?: number } = {};
  if ('index' in link) header.index = link.index;
  if (changes.up !== undefined) {
    header.change = IFF.UP;
    header.flags = changes.up ? IFF.UP : 0;
  }
  const body = linkBody(AF.UNSPEC, header);
  if ('name' in link) body.string(IFLA.IFNAME, link.name);
  else if (changes.name !== undefined) body.string(IFLA.IFNAME, changes.name);
  if (changes.mtu !== undefined) body.u32(IFLA.MTU, changes.mtu);
  if (changes.macAddress !== undefined) body.bytes(IFLA.ADDRESS, macBytes(changes.macAddress));
  if (changes.master !== undefined) body.u32(IFLA.MASTER, changes.master);
  if (changes.group !== undefined) body.u32(IFLA.GROUP, changes.group);
  // an alias is not NUL-terminated
  if (changes.alias !== undefined) body.bytes(IFLA.IFALIAS, Buffer.from(changes.alias));
  if (changes.withoutOwnIpv6) {
    body.nested(IFLA.AF_SPEC, (spec) =>
      spec.nested(AF.INET6, (inet6) => inet6.u8(IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE)),
    );
  }
  return request(`change link ${describe(link)}`, RTM_LINK.SET, 0, body);
}

/** Changes how a bridge treats one of its ports. */
export function setBridgePort(
  index: number,
  changes: {
    /** See {@link PORT_STATE}. */
    state?: number;
    /** Send frames back out of the port that they came in by. */
    hairpin?: boolean;
    /** Isolated ports do not talk to each other. */
    isolated?: boolean;
  },
): NetlinkRequest {
  const body = linkBody(AF.BRIDGE, { index }).nested(IFLA.PROTINFO, (port) => {
    if (changes.state !== undefined) port.u8(IFLA_BRPORT.STATE, changes.state);
    if (changes.hairpin !== undefined) port.u8(IFLA_BRPORT.MODE, changes.hairpin ? 1 : 0);
    if (changes.isolated !== undefined) port.u8(IFLA_BRPORT.ISOLATED, changes.isolated ? 1 : 0);
  });
  return request(`change bridge port ${index}`, RTM_LINK.SET, 0, body);
}

/** Deletes one link. The kernel waits tens of milliseconds for its readers before it answers. */
export function deleteLink(link: LinkSelector): NetlinkRequest {
  const body = linkBody(AF.UNSPEC, 'index' in link ? { index: link.index } : {});
  if ('name' in link) body.string(IFLA.IFNAME, link.name);
  return request(`delete link ${describe(link)}`, RTM_LINK.DEL, 0, body);
}

/** Deletes every link of a group, in about the time that one takes. */
export function deleteLinkGroup(group: number): NetlinkRequest {
  const body = linkBody(AF.UNSPEC, {}).u32(IFLA.GROUP, group);
  return request(`delete the links of group ${group}`, RTM_LINK.DEL, 0, body);
}

/** Asks for one link. */
export function getLink(link: LinkSelector): NetlinkRequest {
  const body = linkBody(AF.UNSPEC, 'index' in link ? { index: link.index } : {});
  if ('name' in link) body.string(IFLA.IFNAME, link.name);
  return request(`find link ${describe(link)}`, RTM_LINK.GET, 0, body);
}

/** Asks for every link of the namespace. */
export function dumpLinks(): NetlinkRequest {
  return request('list links', RTM_LINK.GET, NLM_F.DUMP, linkBody(AF.UNSPEC, {}));
}

/**
 * Reads an `RTM_NEWLINK` or `RTM_DELLINK` message; undefined for any other.
 *
 * @throws {NetlinkDecodeError} when it is cut off
 */
export function decodeLink(message: NetlinkMessage): Link | undefined {
  const { type, payload } = message;
  if (type !== RTM_LINK.NEW && type !== RTM_LINK.DEL) return undefined;
  if (payload.length < 16) {
    throw new NetlinkDecodeError(`link message holds ${payload.length} bytes, fewer than its 16-byte header`);
  }
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const attributes = Attributes.decode(payload.subarray(16));
  const info = attributes.nested(IFLA.LINKINFO);
  const mac = attributes.bytes(IFLA.ADDRESS);
  const portState =
    info.string(IFLA_INFO.SLAVE_KIND) === 'bridge'
      ? info.nested(IFLA_INFO.SLAVE_DATA).u8(IFLA_BRPORT.STATE)
      : undefined;
  return {
    index: view.getInt32(4, true),
    name: attributes.string(IFLA.IFNAME) ?? '',
    flags: view.getUint32(8, true),
    mtu: attributes.u32(IFLA.MTU),
    macAddress: mac?.length === 6 ? macText(mac) : undefined,
    kind: info.string(IFLA_INFO.KIND),
    master: attributes.u32(IFLA.MASTER),
    group: attributes.u32(IFLA.GROUP) ?? 0,
    alias: attributes.string(IFLA.IFALIAS),
    operState: attributes.u8(IFLA.OPERSTATE),
    portState,
  };
}

function linkHeader(
  family: number,
  { index = 0, flags = 0, change = 0 }: { index?: number; flags?: number; change?: number },
): Buffer {
  const header = Buffer.alloc(16);
  header.writeUInt8(family, 0);
  header.writeInt32LE(index, 4);
  header.writeUInt32LE(flags, 8);
  header.writeUInt32LE(change, 12);
  return header;
}

function linkBody(family: number, header: { index?: number; flags?: number; change?: number }) {
  return new AttributeWriter().raw(linkHeader(family, header));
}

function request(description: string, type: number, flags: number, body: AttributeWriter): NetlinkRequest {
  return { description, type, flags, payload: body.finish() };
}

function describe(link: LinkSelector): string {
  return 'name' in link ? link.name : `${link.index}`;
}

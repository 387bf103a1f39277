/** Policy routing rules: which routing table a packet is looked up in. See ip-rule(8) and `<linux/fib_rules.h>`. */

import { NetlinkDecodeError } from '../errors.ts';
import { Attributes, AttributeWriter } from './attributes.ts';
import { addressBytes, addressText } from './ip-address.ts';
import { NLM_F, type NetlinkMessage, type NetlinkRequest } from './message.ts';

/** Message types (`RTM_*`). */
export const RTM_RULE = { NEW: 32, DEL: 33, GET: 34 } as const;

const FRA = {
  DST: 1,
  SRC: 2,
  IIFNAME: 3,
  PRIORITY: 6,
  FWMARK: 10,
  TABLE: 15,
  FWMASK: 16,
  OIFNAME: 17,
} as const;
const FR_ACT_TO_TBL = 1;

/** A rule: what it matches, and the table that then decides. */
export interface RoutingRule {
  family: number;
  /** The lower, the earlier. */
  priority: number;
  table: number;
  from?: { address: string; prefixLength: number };
  to?: { address: string; prefixLength: number };
  incomingInterface?: string;
  outgoingInterface?: string;
  mark?: { value: number; mask: number };
}

/** Adds a rule. */
export function addRoutingRule(rule: RoutingRule): NetlinkRequest {
  return {
    description: `add routing rule ${rule.priority}`,
    type: RTM_RULE.NEW,
    flags: NLM_F.CREATE | NLM_F.EXCL,
    payload: encode(rule),
  };
}

/** Deletes a rule; ENOENT when there is none like it. */
export function deleteRoutingRule(rule: RoutingRule): NetlinkRequest {
  return {
    description: `delete routing rule ${rule.priority}`,
    type: RTM_RULE.DEL,
    flags: 0,
    payload: encode(rule),
  };
}

/** Asks for every rule of a family. */
export function dumpRoutingRules(family: number): NetlinkRequest {
  const payload = Buffer.alloc(12);
  payload[0] = family;
  return { description: 'list routing rules', type: RTM_RULE.GET, flags: NLM_F.DUMP, payload };
}

/**
 * Reads an `RTM_NEWRULE` or `RTM_DELRULE` message; undefined for any other.
 *
 * @throws {NetlinkDecodeError} when it is cut off
 */
export function decodeRoutingRule(message: NetlinkMessage): RoutingRule | undefined {
  const { type, payload } = message;
  if (type !== RTM_RULE.NEW && type !== RTM_RULE.DEL) return undefined;
  if (payload.length < 12) {
    throw new NetlinkDecodeError(`rule message holds ${payload.length} bytes, fewer than its 12-byte header`);
  }
  const attributes = Attributes.decode(payload.subarray(12));
  const prefix = (attribute: number, prefixLength: number) => {
    const bytes = attributes.bytes(attribute);
    const address = bytes && addressText(bytes);
    return address === undefined ? undefined : { address, prefixLength };
  };
  const to = prefix(FRA.DST, payload[1]!);
  const from = prefix(FRA.SRC, payload[2]!);
  const incomingInterface = attributes.string(FRA.IIFNAME);
  const outgoingInterface = attributes.string(FRA.OIFNAME);
  const mark = attributes.u32(FRA.FWMARK);
  return {
    family: payload[0]!,
    priority: attributes.u32(FRA.PRIORITY) ?? 0,
    // table numbers outgrew their byte
    table: attributes.u32(FRA.TABLE) ?? payload[4]!,
    ...(from ? { from } : {}),
    ...(to ? { to } : {}),
    ...(incomingInterface === undefined ? {} : { incomingInterface }),
    ...(outgoingInterface === undefined ? {} : { outgoingInterface }),
    ...(mark === undefined ? {} : { mark: { value: mark, mask: attributes.u32(FRA.FWMASK) ?? 0xffffffff } }),
  };
}

function encode(rule: RoutingRule): Buffer {
  const { family, priority, table, from, to, incomingInterface, outgoingInterface, mark } = rule;
  const header = Buffer.alloc(12);
  header[0] = family;
  header[1] = to?.prefixLength ?? 0;
  header[2] = from?.prefixLength ?? 0;
  header[4] = table > 255 ? 0 : table;
  header[7] = FR_ACT_TO_TBL;
  const writer = new AttributeWriter(96).raw(header).u32(FRA.PRIORITY, priority).u32(FRA.TABLE, table);
  if (to) writer.bytes(FRA.DST, addressBytes(to.address));
  if (from) writer.bytes(FRA.SRC, addressBytes(from.address));
  if (incomingInterface !== undefined) writer.string(FRA.IIFNAME, incomingInterface);
  if (outgoingInterface !== undefined) writer.string(FRA.OIFNAME, outgoingInterface);
  if (mark) writer.u32(FRA.FWMARK, mark.value).u32(FRA.FWMASK, mark.mask);
  return writer.finish();
}

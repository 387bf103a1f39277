/**
 * Connection tracking: forgetting flows that a changed port mapping has made wrong. UDP flows never end by
 * themselves while datagrams keep coming, so a client would go on being sent to a container that is gone.
 *
 * See `<linux/netfilter/nfnetlink_conntrack.h>`.
 */

import { Attributes, AttributeWriter } from './attributes.ts';
import { addressBytes, addressFamily, AF } from './ip-address.ts';
import { NLM_F, type NetlinkMessage, type NetlinkRequest } from './message.ts';

/** `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_…`. */
const CT_GET = (1 << 8) | 1;
const CT_DELETE = (1 << 8) | 2;
const CTA = { TUPLE_ORIG: 1, TUPLE_REPLY: 2, ID: 12, ZONE: 18, FILTER: 25 } as const;
const NLA_F_NESTED = 0x8000;
const NFGENMSG_BYTES = 4;
const CTA_TUPLE = { IP: 1, PROTO: 2 } as const;
const CTA_IP = { V4_SRC: 1, V6_SRC: 3 } as const;
const CTA_PROTO = { NUM: 1, DST_PORT: 3 } as const;
const CTA_FILTER = { ORIG_FLAGS: 1, REPLY_FLAGS: 2 } as const;
/** Which fields of the tuple count (`CTA_FILTER_F_*`). */
const MATCH = { IP_SRC: 1 << 0, PROTO_NUM: 1 << 3, PROTO_DST_PORT: 1 << 5 } as const;

/**
 * Deletes every flow that an address takes part in: flows it began (`began`), or flows it answers, which are those
 * that were translated to it. ENOENT when there is none; EINVAL from kernels that can only list by such a filter (6.1):
 * see {@link listFlows}.
 */
export function deleteFlowsOf(address: string, side: 'began' | 'answers'): NetlinkRequest {
  const bytes = addressBytes(address);
  const family = addressFamily(bytes);
  const tuple = side === 'began' ? CTA.TUPLE_ORIG : CTA.TUPLE_REPLY;
  const writer = new AttributeWriter(128)
    .raw(header(family))
    .nested(tuple, (inner) =>
      inner.nested(CTA_TUPLE.IP, (ip) => ip.bytes(family === AF.INET ? CTA_IP.V4_SRC : CTA_IP.V6_SRC, bytes)),
    );
  const flags = MATCH.IP_SRC;
  return {
    description: `forget the flows of ${address}`,
    type: CT_DELETE,
    flags: 0,
    payload: filter(writer, side === 'began' ? { original: flags } : { reply: flags }).finish(),
  };
}

/**
 * Deletes every flow that was opened to a transport port, whatever the address. ENOENT when there is none; EINVAL as
 * {@link deleteFlowsOf}.
 */
export function deleteFlowsToPort(options: {
  family: number;
  /** Number of the transport protocol: 17 for UDP. */
  protocol: number;
  port: number;
}): NetlinkRequest {
  const { family, protocol, port } = options;
  const writer = new AttributeWriter(128)
    .raw(header(family))
    .nested(CTA.TUPLE_ORIG, (inner) =>
      inner.nested(CTA_TUPLE.PROTO, (proto) =>
        proto.u8(CTA_PROTO.NUM, protocol).be16(CTA_PROTO.DST_PORT, port),
      ),
    );
  return {
    description: `forget the flows to port ${port}`,
    type: CT_DELETE,
    flags: 0,
    payload: filter(writer, { original: MATCH.PROTO_NUM | MATCH.PROTO_DST_PORT }).finish(),
  };
}

/** Lists what {@link deleteFlowsOf} or {@link deleteFlowsToPort} would delete. Linux 5.8. */
export function listFlows(deletion: NetlinkRequest): NetlinkRequest {
  return { ...deletion, type: CT_GET, flags: NLM_F.DUMP };
}

/** Lists every flow of a family. */
export function listAllFlows(family: number): NetlinkRequest {
  return { description: 'list the flows', type: CT_GET, flags: NLM_F.DUMP, payload: header(family) };
}

/** Whose a listed flow is, as bytes: the address that began it, and the one that answers it. */
export function partiesOf({ payload }: NetlinkMessage): Uint8Array[] {
  const [family] = payload;
  const attributes = Attributes.decode(payload.subarray(NFGENMSG_BYTES));
  return [CTA.TUPLE_ORIG, CTA.TUPLE_REPLY].flatMap(
    (tuple) =>
      attributes
        .nested(tuple)
        .nested(CTA_TUPLE.IP)
        .bytes(family === AF.INET ? CTA_IP.V4_SRC : CTA_IP.V6_SRC) ?? [],
  );
}

/** Deletes one flow of {@link listFlows}, and no later one that looks the same. ENOENT when it has ended. */
export function deleteFlow({ payload }: NetlinkMessage): NetlinkRequest {
  const attributes = Attributes.decode(payload.subarray(NFGENMSG_BYTES));
  const writer = new AttributeWriter(128).raw(header(payload[0]!));
  for (const type of [CTA.TUPLE_ORIG, CTA.ID, CTA.ZONE]) {
    const value = attributes.bytes(type);
    if (value) writer.bytes(type === CTA.TUPLE_ORIG ? type | NLA_F_NESTED : type, value);
  }
  return { description: 'forget a flow', type: CT_DELETE, flags: 0, payload: writer.finish() };
}

function filter(
  writer: AttributeWriter,
  { original = 0, reply = 0 }: { original?: number; reply?: number },
): AttributeWriter {
  return writer.nested(CTA.FILTER, (inner) =>
    inner.u32(CTA_FILTER.ORIG_FLAGS, original).u32(CTA_FILTER.REPLY_FLAGS, reply),
  );
}

/** `nfgenmsg`: family, version, resource. */
function header(family: number): Uint8Array {
  return Uint8Array.of(family, 0, 0, 0);
}

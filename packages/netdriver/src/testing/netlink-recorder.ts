/**
 * A netlink transport that writes down what goes over it: to the real kernel, or to a scripted one, so that messages
 * can be compared byte by byte without root.
 */

import type { NetlinkTransport } from '../netlink/connection.ts';
import { decodeMessages, encodeMessage, NLM_F, NLMSG, type NetlinkMessage } from '../netlink/message.ts';

/** One request and its answers. */
export interface NetlinkExchange {
  readonly sent: Uint8Array;
  readonly received: readonly Uint8Array[];
}

/** A transport with a memory. */
export interface NetlinkRecorder extends NetlinkTransport {
  readonly exchanges: readonly NetlinkExchange[];
  /** Every message sent, in order. */
  messages(): NetlinkMessage[];
}

/** Answers a request: one buffer per datagram. */
export type NetlinkScript = (messages: NetlinkMessage[]) => Uint8Array[] | Promise<Uint8Array[]>;

/** Records what goes over `transport`. */
export function recordNetlink(transport: NetlinkTransport): NetlinkRecorder {
  return recorder(
    (sent) => transport.request(sent),
    () => transport.close(),
  );
}

/** Records what is sent and answers from a script; the default script says yes to everything. */
export function scriptNetlink(script: NetlinkScript = acknowledgeAll): NetlinkRecorder {
  return recorder(
    async (sent) => await script(decodeMessages(sent)),
    () => undefined,
  );
}

/** Acknowledges every message that asks for it, as a kernel without objections does. */
export function acknowledgeAll(messages: NetlinkMessage[]): Uint8Array[] {
  return messages
    .filter(({ flags }) => (flags & NLM_F.ACK) !== 0)
    .map((message) => netlinkAnswer(message, 0));
}

/**
 * The kernel's answer to a message: an acknowledgement (errno 0) or a refusal.
 *
 * @param extended encoded attributes of an extended acknowledgement
 */
export function netlinkAnswer(message: NetlinkMessage, errno: number, extended?: Uint8Array): Uint8Array {
  const payload = Buffer.alloc(20 + (extended?.length ?? 0));
  payload.writeInt32LE(-errno, 0);
  payload.writeUInt32LE(16 + message.payload.length, 4);
  payload.writeUInt16LE(message.type, 8);
  payload.writeUInt16LE(message.flags, 10);
  payload.writeUInt32LE(message.sequence, 12);
  if (extended) payload.set(extended, 20);
  const flags = NLM_F.CAPPED | (extended ? NLM_F.ACK_TLVS : 0);
  return encodeMessage({ type: NLMSG.ERROR, flags, payload }, message.sequence);
}

/** Four bytes a line, offset first: two messages in this form make a readable diff. */
export function hexDump(bytes: Uint8Array): string {
  const lines: string[] = [];
  for (let offset = 0; offset < bytes.length; offset += 4) {
    const word = Array.from(bytes.subarray(offset, offset + 4), (byte) => byte.toString(16).padStart(2, '0'));
    lines.push(`${offset.toString(16).padStart(4, '0')}  ${word.join(' ')}`);
  }
  return lines.join('\n');
}

function recorder(request: (sent: Uint8Array) => Promise<Uint8Array[]>, close: () => void): NetlinkRecorder {
  const exchanges: NetlinkExchange[] = [];
  return {
    exchanges,
    messages: () => exchanges.flatMap(({ sent }) => decodeMessages(sent)),
    async request(bytes) {
      // a copy: the sender may use its buffer again
      const sent = Uint8Array.from(bytes);
      const received = await request(sent);
      exchanges.push({ sent, received });
      return received;
    },
    close,
  };
}

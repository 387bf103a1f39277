/** Files as packets of fsutil's protocol: the sending side. */
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { Code, ConnectError } from '@connectrpc/connect';

import { PacketSchema, type Packet } from '../gen/session_pb.ts';
import { goKind } from './go-mode.ts';
import { listingDigest, type FileEntry } from './listing.ts';
import { PACKET } from './packets.ts';

/** What is sent. */
export interface FilesToSend {
  /** Directories before what is in them, names sorted. */
  entries: readonly FileEntry[];
  /** Every piece is the taker's. */
  read(path: string): AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

/** Pieces that fit into a message of gRPC. */
const PIECE_BYTES = 1024 * 1024;

/**
 * A listing, then the content of what the other side asks for, no faster than it is taken.
 *
 * @param packets - of the other side
 * @param known - digest of the listing that the other side has; if it is this one, nothing else is sent
 * @throws {ConnectError} `InvalidArgument` for a wish that is none; `Unknown` with what the other side says is wrong
 */
export async function* sendFiles(
  { entries, read }: FilesToSend,
  packets: AsyncIterable<Packet>,
  known?: string,
): AsyncGenerator<Packet, void, undefined> {
  const packet = (content: MessageInitShape<typeof PacketSchema>): Packet => create(PacketSchema, content);
  if (known !== undefined && listingDigest(entries) === known)
    return yield packet({ type: PACKET.unchanged as number });
  for (const stat of entries) yield packet({ type: PACKET.stat, stat });
  yield packet({ type: PACKET.stat });
  for await (const { type, id, data } of packets) {
    if (type === PACKET.request) {
      const stat = entries[id];
      if (stat === undefined || goKind(stat.mode) !== 'file') {
        throw new ConnectError(`file ${id} was asked for, which is none`, Code.InvalidArgument);
      }
      for await (const whole of read(stat.path)) {
        for (let at = 0; at < whole.length; at += PIECE_BYTES) {
          const data = whole.subarray(at, at + PIECE_BYTES) as Uint8Array<ArrayBuffer>;
          yield packet({ type: PACKET.data, id, data });
        }
      }
      yield packet({ type: PACKET.data, id });
    } else if (type === PACKET.end) {
      yield packet({ type: PACKET.end });
      return;
    } else if (type === PACKET.error) {
      throw new ConnectError(Buffer.from(data).toString('utf8'), Code.Unknown);
    }
  }
}

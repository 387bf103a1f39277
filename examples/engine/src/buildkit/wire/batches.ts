/**
 * Many packets in one message: what a message of gRPC costs is a hundred times what is done with a packet of a few bytes. It
 * is our own addition to fsutil's protocol, between sides that say that they know it.
 *
 * The data of a {@link PACKET.batch} is a series of records: the kind (1 byte), the id and the number of bytes that follow
 * (4 bytes each, little-endian); those are the `stat`, as a message of its own, or the `data`.
 */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { Code, ConnectError } from '@connectrpc/connect';
import { setImmediate } from 'node:timers/promises';

import { PacketSchema, StatSchema, type Packet } from '../gen/session_pb.ts';
import { PACKET } from './packets.ts';

const HEAD_BYTES = 9;
/** A batch goes when it is so large, or when there is nothing more for it. */
const BATCH_BYTES = 256 * 1024;
/** What is larger goes alone: nothing is gained by copying it. */
const LARGE_BYTES = 128 * 1024;

/**
 * The same packets, in batches as large as what is ready.
 *
 * @param understood - whether the other side can take them; packets go one by one until then
 */
export async function* batched(
  packets: AsyncIterable<Packet>,
  understood: () => boolean,
): AsyncGenerator<Packet, void, undefined> {
  const source = packets[Symbol.asyncIterator]();
  const take = (): Promise<IteratorResult<Packet>> => {
    const next = source.next();
    // heard when it is waited for, which may never be
    next.catch(() => undefined);
    return next;
  };
  const batch = new Batch();
  try {
    for (let next = take(); ;) {
      // whoever waits for what is in the batch may be waited for in turn
      const got = batch.isEmpty ? await next : await Promise.race([next, setImmediate(undefined)]);
      if (got === undefined) {
        yield batch.take();
        continue;
      }
      if (got.done) break;
      const { value } = got;
      if (!understood()) yield value;
      else if (value.data.length > LARGE_BYTES) {
        if (!batch.isEmpty) yield batch.take();
        yield value;
      } else {
        batch.add(value);
        if (batch.isFull) yield batch.take();
      }
      next = take();
    }
    if (!batch.isEmpty) yield batch.take();
  } finally {
    await source.return?.();
  }
}

/**
 * The packets again. What batches hold is valid until the next packet is asked for.
 *
 * @param onBatch - called when the other side has sent one
 * @throws {ConnectError} `InvalidArgument` for a batch that is none
 */
export async function* unbatched(
  packets: AsyncIterable<Packet>,
  onBatch: () => void = () => undefined,
): AsyncGenerator<Packet, void, undefined> {
  for await (const packet of packets) {
    if (packet.type !== PACKET.batch) {
      yield packet;
      continue;
    }
    onBatch();
    yield* recordsOf(packet.data);
  }
}

class Batch {
  #bytes = Buffer.alloc(0);
  #used = 0;

  get isEmpty(): boolean {
    return this.#used === 0;
  }

  get isFull(): boolean {
    return this.#used >= BATCH_BYTES;
  }

  add({ type, id, stat, data }: Packet): void {
    const content = stat === undefined ? data : toBinary(StatSchema, stat);
    const end = this.#used + HEAD_BYTES + content.length;
    if (end > this.#bytes.length) {
      const larger = Buffer.allocUnsafeSlow(
        this.#used === 0 && content.length < 1024 ? 4096 : BATCH_BYTES + LARGE_BYTES + HEAD_BYTES,
      );
      this.#bytes.copy(larger, 0, 0, this.#used);
      this.#bytes = larger;
    }
    this.#bytes.writeUInt8(type, this.#used);
    this.#bytes.writeUInt32LE(id, this.#used + 1);
    this.#bytes.writeUInt32LE(content.length, this.#used + 5);
    this.#bytes.set(content, this.#used + HEAD_BYTES);
    this.#used = end;
  }

  take(): Packet {
    const data = this.#bytes.subarray(0, this.#used) as Buffer<ArrayBuffer>;
    this.#bytes = Buffer.alloc(0);
    this.#used = 0;
    return create(PacketSchema, { type: PACKET.batch as number, data });
  }
}

function* recordsOf(data: Uint8Array): Generator<Packet, void, undefined> {
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  for (let at = 0; at < bytes.length;) {
    const begin = at + HEAD_BYTES;
    const end = begin > bytes.length ? Infinity : begin + bytes.readUInt32LE(at + 5);
    if (end > bytes.length) throw new ConnectError('a batch of packets is cut off', Code.InvalidArgument);
    const type = bytes.readUInt8(at);
    const id = bytes.readUInt32LE(at + 1);
    const content = bytes.subarray(begin, end) as Buffer<ArrayBuffer>;
    if (type === PACKET.batch) throw new ConnectError('a batch in a batch', Code.InvalidArgument);
    const isStat = type === PACKET.stat && content.length > 0;
    yield create(PacketSchema, isStat ? { type, id, stat: statOf(content) } : { type, id, data: content });
    at = end;
  }
}

function statOf(content: Uint8Array) {
  try {
    return fromBinary(StatSchema, content);
  } catch (cause) {
    throw new ConnectError('a batch holds no stat', Code.InvalidArgument, undefined, undefined, cause);
  }
}

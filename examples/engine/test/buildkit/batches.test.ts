/** Packets in batches: the same packets come out, and nobody waits for what is in a batch. */
import { create } from '@bufbuild/protobuf';
import { array, asyncProperty, assert as always, boolean, constantFrom, nat, record } from 'fast-check';
import { setTimeout } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { PacketSchema, StatSchema, type Packet } from '../../src/buildkit/gen/session_pb.ts';
import { batched, unbatched } from '../../src/buildkit/wire/batches.ts';
import { PACKET } from '../../src/buildkit/wire/packets.ts';

const packet = (type: number, id: number, content?: Uint8Array | string): Packet =>
  typeof content === 'string'
    ? create(PacketSchema, { type, id, stat: create(StatSchema, { path: content, size: 2n ** 40n }) })
    : create(PacketSchema, { type, id, data: Buffer.from(content ?? []) });
const said = ({ type, id, stat, data }: Packet): unknown[] => [
  type,
  id,
  stat?.path,
  stat?.size,
  Buffer.from(data).toString('latin1'),
];

const packets = array(
  record({
    kind: constantFrom('stat', 'end of listing', 'request', 'data', 'end'),
    id: nat(2 ** 32 - 1),
    bytes: constantFrom(0, 1, 500, 100_000, 128 * 1024, 128 * 1024 + 1, 600_000),
    waits: boolean(),
  }),
  { maxLength: 12 },
);

test('what goes in comes out, in its order, batches or not', async () => {
  await always(
    asyncProperty(packets, nat(12), async (wanted, understoodAfter) => {
      const all = wanted.map(({ kind, id, bytes }) =>
        kind === 'stat'
          ? packet(PACKET.stat, 0, `dir/${id}`)
          : kind === 'data'
            ? packet(PACKET.data, id, Buffer.alloc(bytes, id % 251))
            : packet({ 'end of listing': PACKET.stat, request: PACKET.request, end: PACKET.end }[kind], id),
      );
      let sent = 0;
      async function* source() {
        for (const [i, one] of all.entries()) {
          if (wanted[i]!.waits) await setTimeout(0);
          sent += 1;
          yield one;
        }
      }
      const through = batched(source(), () => sent > understoodAfter);
      const received: unknown[][] = [];
      for await (const one of unbatched(through)) received.push(said(one));
      expect(received).toEqual(all.map(said));
    }),
    { numRuns: 60 },
  );
});

test('many small packets become few', async () => {
  async function* source() {
    for (let id = 0; id < 5000; id++) yield packet(PACKET.data, id, Buffer.alloc(100));
  }
  const sent = await Array.fromAsync(batched(source(), () => true));
  expect(sent.length).toBeLessThan(5);
  expect(sent.every(({ type }) => type === PACKET.batch)).toBe(true);
});

test('a packet goes when there is nothing more for its batch', async () => {
  const answer = Promise.withResolvers<void>();
  async function* source() {
    yield packet(PACKET.request, 1);
    await answer.promise;
    yield packet(PACKET.end, 0);
  }
  const through = unbatched(batched(source(), () => true));
  expect((await through.next()).value).toMatchObject({ type: PACKET.request, id: 1 });
  answer.resolve();
  expect((await through.next()).value).toMatchObject({ type: PACKET.end });
  expect((await through.next()).done).toBe(true);
});

test('a source that fails fails the taker, after what came before', async () => {
  async function* source() {
    yield packet(PACKET.request, 1);
    await setTimeout(5);
    throw new Error('gone');
  }
  const through = unbatched(batched(source(), () => true));
  expect((await through.next()).value).toMatchObject({ id: 1 });
  await expect(through.next()).rejects.toThrow('gone');
});

test('a taker that leaves ends the source', async () => {
  let ended = false;
  async function* source() {
    try {
      for (let id = 0; ; id++) yield packet(PACKET.data, id, Buffer.alloc(50_000));
    } finally {
      ended = true;
    }
  }
  for await (const _ of batched(source(), () => true)) break;
  expect(ended).toBe(true);
});

const header = (type: number, id: number, length: number): Buffer => {
  const bytes = Buffer.alloc(9);
  bytes.writeUInt8(type);
  bytes.writeUInt32LE(id, 1);
  bytes.writeUInt32LE(length, 5);
  return bytes;
};

test.each([
  ['a record without its head', header(PACKET.data, 1, 0).subarray(0, 8)],
  ['more than there is', Buffer.concat([header(PACKET.data, 1, 5), Buffer.from('four')])],
  ['four gigabytes', header(PACKET.data, 1, 0xffffffff)],
  ['a batch in a batch', Buffer.concat([header(PACKET.batch, 0, 9), header(PACKET.end, 0, 0)])],
  ['a stat that is none', Buffer.concat([header(PACKET.stat, 0, 2), Buffer.of(0xff, 0xff)])],
])('a batch with %s is refused', async (_, data) => {
  async function* source() {
    yield packet(PACKET.batch, 0, data);
  }
  await expect(Array.fromAsync(unbatched(source()))).rejects.toMatchObject({
    name: 'ConnectError',
    rawMessage: expect.stringMatching(/batch/),
  });
});

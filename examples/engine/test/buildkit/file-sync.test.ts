/** What a build takes of a client's files, when the client is honest and when it is not. */
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import type { HandlerContext } from '@connectrpc/connect';
import { connectNodeAdapter } from '@connectrpc/connect-node';
import { assert as always, constantFrom, integer, property } from 'fast-check';
import { once } from 'node:events';
import { constants } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { createServer as createHttp2Server } from 'node:http2';
import { connect, createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Spool } from '../../src/builder/spool.ts';
import type { SpooledTree } from '../../src/builder/spooled-tree.ts';
import { syncFiles } from '../../src/buildkit/file-sync.ts';
import { batched, unbatched } from '../../src/buildkit/wire/batches.ts';
import { BATCHES_FIELD, LISTING_FIELD, PACKET } from '../../src/buildkit/wire/packets.ts';
import { sendFiles } from '../../src/buildkit/wire/send-files.ts';
import { FileSync, PacketSchema, StatSchema, type Packet } from '../../src/buildkit/gen/session_pb.ts';
import { goKind, goPermissions, toGoMode } from '../../src/buildkit/wire/go-mode.ts';
import { Session } from '../../src/buildkit/sessions.ts';

type Entry = { path: string; mode: number; data?: string; linkname?: string };
type Loose = MessageInitShape<typeof PacketSchema>;

const DIRECTORY = toGoMode(constants.S_IFDIR | 0o755);
const FILE = toGoMode(constants.S_IFREG | 0o640);
const LINK = toGoMode(constants.S_IFLNK | 0o777);

describe('files of a client', () => {
  let directory: string;
  let held: AsyncDisposableStack;
  beforeEach(async () => {
    held = new AsyncDisposableStack();
    directory = await mkdtemp(join(tmpdir(), 'sync-'));
    held.defer(() => rm(directory, { recursive: true, force: true }));
  });
  afterEach(() => held.disposeAsync());

  /** A session whose client answers with `serve`, over a real connection. */
  async function session(
    serve: (requests: AsyncIterable<Packet>, context: HandlerContext) => AsyncIterable<Loose>,
  ): Promise<Session> {
    const client = createHttp2Server(
      {},
      connectNodeAdapter({
        routes: (router) =>
          router.service(FileSync, { diffCopy: (requests, context) => serve(requests, context) }),
      }),
    );
    const server = createServer((socket) => {
      socket.on('error', () => socket.destroy());
      client.emit('connection', socket);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
    await once(socket, 'connect');
    const gone = new AbortController();
    held.defer(() => {
      gone.abort();
      socket.destroy();
      server.close();
    });
    const offer = { id: 's', methods: ['/moby.filesync.v1.FileSync/DiffCopy'] };
    return new Session(offer, socket, gone.signal);
  }

  /** A client that lists `entries`, and sends what it is asked for. */
  function honest(entries: readonly Entry[]) {
    return async function* serve(requests: AsyncIterable<Packet>): AsyncGenerator<Loose> {
      for (const { path, mode, data = '', linkname = '' } of entries) {
        yield {
          type: PACKET.stat,
          stat: { path, mode, size: BigInt(data.length), linkname, modTime: 1_000_000_000n },
        };
      }
      yield { type: PACKET.stat };
      for await (const { type, id } of requests) {
        if (type === PACKET.end) {
          yield { type: PACKET.end };
          return;
        }
        const { data = '' } = entries[id]!;
        for (const letter of data) yield { type: PACKET.data, id, data: Buffer.from(letter) };
        yield { type: PACKET.data, id };
      }
    };
  }
  const take = async (
    serve: Parameters<typeof session>[0],
    known: { spool?: Spool; before?: SpooledTree } = {},
  ): Promise<SpooledTree> => {
    const { spool = new Spool(join(directory, 'spool')), before } = known;
    held.use(spool.hold());
    const signal = AbortSignal.timeout(10_000);
    return syncFiles(await session(serve), { name: 'context', spool, before, signal });
  };

  /** The same client, when it knows batches. */
  function batching(serve: ReturnType<typeof honest>) {
    return (requests: AsyncIterable<Packet>, { requestHeader }: HandlerContext) => {
      expect(requestHeader.has(BATCHES_FIELD)).toBe(true);
      async function* sent(): AsyncGenerator<Packet> {
        for await (const packet of serve(unbatched(requests))) yield create(PacketSchema, packet);
      }
      return batched(sent(), () => true);
    };
  }

  test.each([
    ['one by one', (serve: ReturnType<typeof honest>) => serve],
    ['in batches', batching],
  ])('files, directories and links arrive with modes and times, %s', async (_, served) => {
    const tree = await take(
      served(
        honest([
          { path: 'd', mode: DIRECTORY },
          { path: 'd/empty', mode: FILE },
          { path: 'd/f', mode: FILE, data: 'content' },
          { path: 'hard', mode: FILE, linkname: 'd/f' },
          { path: 'soft', mode: LINK, linkname: '/etc/passwd' },
        ]),
      ),
    );
    expect(tree.read('/d/f', 100).toString()).toBe('content');
    expect(tree.read('/d/empty', 100).toString()).toBe('');
    expect(tree.stat('/d/f')).toEqual({ mode: constants.S_IFREG | 0o640, size: 7, mtimeNs: 1_000_000_000n });
    expect(tree.stat('/soft').linkName).toBe('/etc/passwd');
    expect(tree.stat('/d').mtimeNs).toBe(1_000_000_000n);
    const [hard, f] = ['hard', 'd/f'].map(
      (path) => [...tree.members('/')].find(({ entry }) => entry.name === path)?.inode,
    );
    expect(hard).toBe(f);
  });

  test('what has not changed is not asked for again', async () => {
    const spool = new Spool(join(directory, 'spool'));
    const asked: string[] = [];
    const serve = (entries: readonly Entry[]) => {
      const own = honest(entries);
      return (requests: AsyncIterable<Packet>): AsyncIterable<Loose> =>
        own(
          (async function* told() {
            for await (const packet of requests) {
              if (packet.type === PACKET.request) asked.push(entries[packet.id]!.path);
              yield packet;
            }
          })(),
        );
    };
    const files = (b: string): Entry[] => [
      { path: 'a', mode: FILE, data: 'one' },
      { path: 'b', mode: FILE, data: b },
    ];
    const before = await take(serve(files('two')), { spool });
    expect(asked).toEqual(['a', 'b']);
    // all of it listed, and nothing new: it is the same tree
    expect(await take(serve(files('two')), { spool, before })).toBe(before);
    expect(asked).toEqual(['a', 'b']);
    const after = await take(serve(files('three')), { spool, before });
    expect(asked).toEqual(['a', 'b', 'b']);
    expect(['/a', '/b'].map((path) => after.read(path, 9).toString())).toEqual(['one', 'three']);
    expect(before.read('/b', 9).toString()).toBe('two');
    // a mode alone is no new content
    const [, b] = files('three');
    const last = await take(serve([{ path: 'a', mode: FILE | 0o111, data: 'one' }, b!]), {
      spool,
      before: after,
    });
    expect(asked).toHaveLength(3);
    expect(last.stat('/a').mode & 0o777).toBe(0o751);
  });

  test('of a directory that has not changed at all nothing is listed, when the client knows that way', async () => {
    const spool = new Spool(join(directory, 'spool'));
    const entries = [
      { path: 'd', mode: DIRECTORY, modTime: 5n },
      { path: 'd/f', mode: FILE, size: 7n, modTime: 6n },
    ].map((stat) => create(StatSchema, stat));
    let listed = 0;
    let content = 'content';
    const read = (): Iterable<Uint8Array> => [Buffer.from(content)];
    const before = await take((requests) => sendFiles({ entries, read }, requests), { spool });
    async function* own(requests: AsyncIterable<Packet>, { requestHeader }: HandlerContext) {
      const known = requestHeader.get(LISTING_FIELD) ?? '';
      for await (const packet of sendFiles({ entries, read }, requests, known)) {
        if (packet.stat) listed += 1;
        yield packet;
      }
    }
    expect(await take(own, { spool, before })).toBe(before);
    expect(listed).toBe(0);
    entries[1]!.modTime = 8n;
    content = 'changed';
    const after = await take(own, { spool, before });
    expect(listed).toBe(2);
    expect([before, after].map((tree) => tree.read('/d/f', 9).toString())).toEqual(['content', 'changed']);
    // what it was not told of it cannot know
    await expect(
      take(async function* serve() {
        yield { type: PACKET.unchanged };
      }),
    ).rejects.toThrow('nothing new of what is not here');
  });

  test('a file that may still be changing is asked for each time', async () => {
    const spool = new Spool(join(directory, 'spool'));
    const now = BigInt(Date.now()) * 1_000_000n;
    let asked = 0;
    async function* serve(requests: AsyncIterable<Packet>): AsyncGenerator<Loose> {
      yield { type: PACKET.stat, stat: { path: 'f', mode: FILE, size: 1n, modTime: now } };
      yield { type: PACKET.stat };
      for await (const { type, id } of requests) {
        if (type === PACKET.end) return void (yield { type: PACKET.end });
        asked += 1;
        yield { type: PACKET.data, id, data: Buffer.from(String(asked)) };
        yield { type: PACKET.data, id };
      }
    }
    const before = await take(serve, { spool });
    const after = await take(serve, { spool, before });
    expect([before, after].map((tree) => tree.read('/f', 9).toString())).toEqual(['1', '2']);
  });

  test.each<[string, readonly Entry[]]>([
    ['a path that leads out', [{ path: '../out', mode: FILE }]],
    ['an absolute path', [{ path: '/out', mode: FILE }]],
    ['a path that is not clean', [{ path: 'a//b', mode: FILE }]],
    [
      'a file below a link',
      [
        { path: 'l', mode: LINK, linkname: '/tmp' },
        { path: 'l/out', mode: FILE },
      ],
    ],
    [
      'a file below a file',
      [
        { path: 'f', mode: FILE },
        { path: 'f/g', mode: FILE },
      ],
    ],
    [
      'a name that comes twice',
      [
        { path: 'f', mode: FILE },
        { path: 'f', mode: LINK, linkname: '/tmp' },
      ],
    ],
    ['a hard link to what is not there', [{ path: 'h', mode: FILE, linkname: '../../etc/passwd' }]],
    ['a device', [{ path: 'n', mode: toGoMode(constants.S_IFBLK | 0o600) }]],
  ])('%s is refused', async (_what, entries) => {
    await expect(take(honest(entries))).rejects.toThrow(/the client sent|exclude it/);
    expect(await readdir(directory)).toEqual([]);
  });

  test('data that nobody asked for is refused', async () => {
    await expect(
      take(async function* serve() {
        yield { type: PACKET.data, id: 5, data: Buffer.from('x') };
      }),
    ).rejects.toThrow('data that nobody asked for (5)');
  });

  test('a client that stops in the middle is an error, and what it says is passed on', async () => {
    await expect(
      take(async function* serve() {
        yield { type: PACKET.stat };
      }),
    ).rejects.toThrow('the client stopped sending context');
    await expect(
      take(async function* serve() {
        yield { type: PACKET.error, data: Buffer.from('disk on fire') };
      }),
    ).rejects.toThrow('disk on fire');
  });

  test('modes come back from those of Go', () => {
    const kinds = [constants.S_IFREG, constants.S_IFDIR, constants.S_IFLNK];
    always(
      property(constantFrom(...kinds), integer({ min: 0, max: 0o7777 }), (kind, permissions) => {
        const mode = toGoMode(kind | permissions);
        expect(goPermissions(mode)).toBe(permissions);
        expect(goKind(mode)).toBe(['file', 'directory', 'symlink'][kinds.indexOf(kind)]);
        expect(create(PacketSchema, { stat: { mode } }).stat?.mode).toBe(mode);
      }),
    );
  });
});

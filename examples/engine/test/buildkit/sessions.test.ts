/** Calls to a client, when its answers end in unusual ways. */
import { once } from 'node:events';
import { constants, createServer as createHttp2Server, type ServerHttp2Stream } from 'node:http2';
import { connect, createServer, type AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { Upload } from '../../src/buildkit/gen/upload_pb.ts';
import { Outbox } from '../../src/buildkit/wire/outbox.ts';
import { Session } from '../../src/buildkit/sessions.ts';

/** A message of one field of bytes, in gRPC's frame. */
function message(bytes: number): Buffer {
  const body = Buffer.concat([Buffer.from([0x0a, 0x80 | (bytes & 0x7f), bytes >> 7]), Buffer.alloc(bytes)]);
  const frame = Buffer.alloc(5);
  frame.writeUInt32BE(body.length, 1);
  return Buffer.concat([frame, body]);
}

/** What a client of the session reads, slowly, when the other side serves with `serve`. */
async function read(serve: (stream: ServerHttp2Stream) => void): Promise<number> {
  await using held = new AsyncDisposableStack();
  const client = createHttp2Server();
  client.on('stream', serve);
  const server = createServer((socket) => void client.emit('connection', socket));
  server.listen(0, '127.0.0.1');
  held.defer(() => void server.close());
  await once(server, 'listening');
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  held.defer(() => void socket.destroy());
  await once(socket, 'connect');
  const gone = new AbortController();
  held.defer(() => gone.abort());
  const session = new Session({ id: 's', methods: [] }, socket, gone.signal);
  const requests = new Outbox<never>();
  let bytes = 0;
  try {
    for await (const { data } of session.client(Upload).pull(requests)) {
      bytes += data.length;
      await delay(10);
    }
  } finally {
    requests.end();
  }
  return bytes;
}

test('an answer is whole although the request was never ended', async () => {
  const whole = read((stream) => {
    // as a server in Go ends a call whose client could still send
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
    stream.on('error', () => undefined);
    for (let i = 0; i < 4; i += 1) stream.write(message(10_000));
    stream.end(() => setTimeout(() => stream.close(constants.NGHTTP2_NO_ERROR), 5));
  });
  await expect(whole).resolves.toBe(40_000);
});

test('an answer that breaks off is none', async () => {
  const broken = read((stream) => {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
    stream.on('error', () => undefined);
    stream.write(message(10_000), () => stream.close(constants.NGHTTP2_CANCEL));
  });
  await expect(broken).rejects.toThrow();
});

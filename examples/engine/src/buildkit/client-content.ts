/** A client's directory of blobs, on its session: where caches of `type=local` are. */
import { create } from '@bufbuild/protobuf';
import { Code, ConnectError, type Client } from '@connectrpc/connect';
import type { Descriptor, Digest } from '@tare/image-spec';
import { verifyStream, type ContentSink, type ContentSource } from '@tare/image-spec/content';
import { createHash } from 'node:crypto';

import { Content, WriteContentRequestSchema, type WriteContentRequest } from './gen/content_pb.ts';
import { Outbox } from './wire/outbox.ts';
import type { Session } from './sessions.ts';

/** What a message of a write asks for. */
const ACTION = { stat: 0, write: 1, commit: 2 } as const;

/** Pieces that a client is sent. */
const CHUNK_BYTES = 1024 * 1024;

/** Blobs in a directory of a client's. */
export interface ClientContent extends ContentSource, ContentSink {
  /** Of a blob that is there, in bytes. */
  sizeOf(digest: Digest, signal: AbortSignal): Promise<number>;
}

/** @param directory - as the client named it */
export function clientContent(session: Session, directory: string): ClientContent {
  const client: Client<typeof Content> = session.client(Content);
  const headers = { 'buildkit-attachable-store-id': `local:${directory}` };
  return {
    fetch: ({ digest, size }, { signal } = {}) => {
      const pieces = client.read({ digest }, { headers, ...(signal ? { signal } : {}) });
      const data = (async function* data() {
        for await (const piece of pieces) yield piece.data;
      })();
      return Promise.resolve(verifyStream({ digest, size }, data, createHash));
    },
    async sizeOf(digest, signal) {
      const { info } = await client.info({ digest }, { headers, signal });
      return Number(info?.size ?? 0n);
    },
    async has({ digest }, { signal } = {}) {
      try {
        await client.info({ digest }, { headers, ...(signal ? { signal } : {}) });
        return true;
      } catch (error) {
        if (ConnectError.from(error).code === Code.NotFound) return false;
        throw error;
      }
    },
    async push(descriptor, content, { signal } = {}) {
      try {
        await write(client, headers, descriptor, content, signal);
      } catch (error) {
        if (ConnectError.from(error).code !== Code.AlreadyExists) throw error;
      }
    },
  };
}

async function write(
  client: Client<typeof Content>,
  headers: Record<string, string>,
  { digest, size }: Descriptor,
  content: AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
): Promise<void> {
  const requests = new Outbox<WriteContentRequest>();
  const replies = client.write(requests, { headers, ...(signal ? { signal } : {}) })[Symbol.asyncIterator]();
  const total = BigInt(size);
  const ref = `tare-${digest}`;
  const call = async (request: {
    action: number;
    offset: bigint;
    data?: Uint8Array<ArrayBuffer>;
  }): Promise<void> => {
    requests.push(create(WriteContentRequestSchema, { ref, total, expected: digest, ...request }));
    const reply = await replies.next();
    if (reply.done) throw new ConnectError(`the client stopped taking ${digest}`, Code.Aborted);
  };
  try {
    await call({ action: ACTION.stat, offset: 0n });
    let offset = 0n;
    for await (const piece of content) {
      for (let at = 0; at < piece.length; at += CHUNK_BYTES) {
        const data = Uint8Array.from(piece.subarray(at, at + CHUNK_BYTES));
        await call({ action: ACTION.write, offset, data });
        offset += BigInt(data.length);
      }
    }
    await call({ action: ACTION.commit, offset });
  } finally {
    requests.end();
    await replies.return?.();
  }
}

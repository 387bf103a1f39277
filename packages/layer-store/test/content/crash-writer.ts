/** A process that writes and removes blobs until it is killed: `crash-writer.ts <root> <seed>`. */
import { createHash } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import { parseDigest, type Descriptor } from '@tare/image-spec';
import { openFileContent } from '../../src/index.ts';

/** The blobs that it writes; the same in every process. */
export function crashBlobs(): { descriptor: Descriptor; bytes: Buffer }[] {
  return Array.from({ length: 6 }, (_, i) => {
    const bytes = Buffer.alloc(700_000 * (i + 1), `blob ${i} `);
    const digest = parseDigest(`sha256:${createHash('sha256').update(bytes).digest('hex')}`);
    return { descriptor: { mediaType: 'application/octet-stream', digest, size: bytes.byteLength }, bytes };
  });
}

async function* pieces(bytes: Buffer, from: number): AsyncGenerator<Uint8Array> {
  for (let at = from; at < bytes.byteLength; at += 100_000) {
    yield bytes.subarray(at, at + 100_000);
    await setTimeout(1);
  }
}

if (process.argv[2] !== undefined && import.meta.filename === process.argv[1]) {
  const store = await openFileContent(process.argv[2]);
  process.stdout.write('open\n');
  for (;;) {
    await Promise.all(
      crashBlobs().map(async ({ descriptor, bytes }, i) => {
        if (i % 3 === 0) await store.push(descriptor, pieces(bytes, 0));
        else if (i % 3 === 1) await store.create(pieces(bytes, 0));
        else await store.pushFrom(descriptor, async (offset) => pieces(bytes, offset));
        await store.delete(descriptor.digest);
      }),
    );
  }
}

/**
 * A process that pushes one blob in chunks: `push-process.ts <repository> <journal> <bytes> <chunk> [until]`. Once it has
 * said `until` it dies, with nothing of the next chunk on its way: Debian's docker-registry, which is asked for more than it
 * has acknowledged, forgets the upload.
 */
import { writeSync } from 'node:fs';
import { RegistryClient, uploadJournal } from '../src/index.ts';
import { chunks, describeBytes, noise } from './support.ts';

const [repository, journal, size, chunk, until] = process.argv.slice(2);
const bytes = noise(Number(size));
await using client = new RegistryClient({ retry: { baseMs: 1, maxMs: 2 } });
const target = client.repository(repository!, {
  chunkBytes: Number(chunk),
  uploads: uploadJournal(journal!),
  onTransfer: ({ kind, transferredBytes }) => {
    const line = `${kind} ${transferredBytes}`;
    writeSync(1, `${line}\n`);
    if (line === until) process.kill(process.pid, 'SIGKILL');
  },
});
await target.pushFrom(describeBytes(bytes), async (offset) => chunks(bytes.subarray(offset)));

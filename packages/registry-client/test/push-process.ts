/** A process that pushes one blob in chunks, and can be told to stop in the middle: `push-process.ts <repository> <journal> <bytes> <chunk>`. */
import { RegistryClient, uploadJournal } from '../src/index.ts';
import { chunks, describeBytes, noise } from './support.ts';

const [repository, journal, size, chunk] = process.argv.slice(2);
const bytes = noise(Number(size));
await using client = new RegistryClient({ retry: { baseMs: 1, maxMs: 2 } });
const target = client.repository(repository!, {
  chunkBytes: Number(chunk),
  uploads: uploadJournal(journal!),
  onTransfer: ({ kind, transferredBytes }) => process.stdout.write(`${kind} ${transferredBytes}\n`),
});
await target.pushFrom(describeBytes(bytes), async (offset) => chunks(bytes.subarray(offset)));

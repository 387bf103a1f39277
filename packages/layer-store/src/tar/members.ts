/** The members of an archive one after the other, each with its content as a stream. */
import { decompress } from '../compression.ts';
import type { TarEntry } from './entry.ts';
import { TarReader, type TarReaderOptions } from './read.ts';

/** One member. */
export interface TarMember {
  entry: TarEntry;
  /** Holes are zeros. To be read, if at all, before the next member is asked for. */
  content: AsyncIterable<Uint8Array>;
}

/** What a reader calls back, kept until somebody asks. */
type Event = { entry: TarEntry } | { bytes: Uint8Array; position: number } | 'end';

const ZEROS = Buffer.alloc(64 * 1024);

/**
 * Reads `archive` (plain, gzip or zstd), whose chunks must not change afterwards. Stopping early stops the source too.
 *
 * @throws {LayerStoreError} `INVALID_TAR`, and what `archive` throws
 */
export async function* tarMembers(
  archive: AsyncIterable<Uint8Array>,
  options: TarReaderOptions = {},
): AsyncGenerator<TarMember, void, undefined> {
  let events: Event[] = [];
  let at = 0;
  const reader = new TarReader(
    {
      entry: (entry) => void events.push({ entry }),
      data: (bytes, position) => void events.push({ bytes, position }),
      entryEnd: () => void events.push('end'),
    },
    options,
  );
  const source = decompress(archive);
  let ended = false;
  const next = async (): Promise<Event | undefined> => {
    while (at === events.length && !ended) {
      events = [];
      at = 0;
      const read = await source.next();
      ended = read.done === true;
      if (read.done === true) reader.end();
      else reader.write(read.value);
    }
    return events[at++];
  };
  async function* content({ size }: TarEntry): AsyncGenerator<Uint8Array, void, undefined> {
    let given = 0;
    for (let event = await next(); event !== undefined; event = await next()) {
      const piece = typeof event === 'object' && 'bytes' in event ? event : undefined;
      for (const end = piece?.position ?? size; given < end;) {
        const hole = ZEROS.subarray(0, Math.min(end - given, ZEROS.length));
        given += hole.length;
        yield hole;
      }
      if (piece === undefined) return;
      given += piece.bytes.length;
      yield piece.bytes;
    }
  }
  try {
    for (let event = await next(); event !== undefined; event = await next()) {
      // what is left of a member that nobody read is passed over
      if (typeof event === 'object' && 'entry' in event)
        yield { entry: event.entry, content: content(event.entry) };
    }
  } finally {
    await source.return();
  }
}

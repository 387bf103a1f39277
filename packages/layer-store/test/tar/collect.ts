/** Reads a whole archive into memory, for tests. */
import { TarReader, type TarEntry, type TarReaderOptions } from '../../src/index.ts';

export interface Member extends TarEntry {
  content: Buffer;
}

/** Every member with its content, holes as zeros. Feeds the reader `chunkSize` bytes at a time. */
export function collect(
  archive: Uint8Array,
  chunkSize = archive.length,
  options?: TarReaderOptions,
): Member[] {
  const members: Member[] = [];
  const reader = new TarReader(
    {
      entry: (entry) => members.push({ ...entry, content: Buffer.alloc(entry.size) }),
      data: (bytes, position) => members.at(-1)!.content.set(bytes, position),
      entryEnd: () => undefined,
    },
    options,
  );
  for (let at = 0; at < archive.length; at += chunkSize) reader.write(archive.subarray(at, at + chunkSize));
  reader.end();
  return members;
}

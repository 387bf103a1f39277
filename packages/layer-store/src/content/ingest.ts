/** Writes one blob: temporary file, size and digest verified while streaming, fsync, rename, fsync of the directory. */
import { createHash, randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { open, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Descriptor } from '@tare/image-spec';
import { Verifier } from '@tare/image-spec/content';
import { abortable } from '../abort.ts';
import { systemCode } from '../errors.ts';
import { isOwnerAlive, thisOwner } from '../owner.ts';

/** Where an ingest works and where it puts the result. */
export interface IngestPlace {
  /** Directory of temporary files, on the same file system as `target`. */
  ingestDir: string;
  /** Path of the finished blob. */
  target: string;
}

/**
 * Streams `content` into `place.target`, which appears whole or not at all.
 *
 * The temporary file is removed on every failure; one that a crash left behind falls to {@link sweepIngests}.
 *
 * @throws {ImageSpecError} `SIZE_MISMATCH` as soon as one byte too many arrives, `DIGEST_MISMATCH`
 */
export async function ingest(
  place: IngestPlace,
  descriptor: Descriptor,
  content: AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
): Promise<void> {
  signal?.throwIfAborted();
  const temporary = join(place.ingestDir, `${thisOwner}.${randomBytes(8).toString('hex')}`);
  const file = await open(temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o444);
  try {
    try {
      const verifier = new Verifier(descriptor, createHash);
      for await (const chunk of abortable(content, signal)) {
        // the pool writes while this thread hashes
        const written = writeAll(file, chunk);
        try {
          verifier.update(chunk);
        } finally {
          await written;
        }
      }
      verifier.end();
      await file.sync();
    } finally {
      await file.close();
    }
    signal?.throwIfAborted();
    await rename(temporary, place.target);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncDirectory(dirname(place.target));
}

/** Makes the names in `directory` durable. */
export async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Removes the temporary files of processes that are gone; those of living ones are left alone. */
export async function sweepIngests(ingestDir: string): Promise<void> {
  for (const name of await readdir(ingestDir)) {
    const owner = name.slice(0, name.indexOf('.'));
    if (!isOwnerAlive(owner)) await rm(join(ingestDir, name), { force: true, recursive: true });
  }
}

async function writeAll(file: Awaited<ReturnType<typeof open>>, chunk: Uint8Array): Promise<void> {
  let offset = 0;
  while (offset < chunk.byteLength) {
    const { bytesWritten } = await file.write(chunk, offset, chunk.byteLength - offset);
    offset += bytesWritten;
  }
}

/** Whether `error` says that a file is not there. */
export function isMissing(error: unknown): boolean {
  return systemCode(error) === 'ENOENT';
}

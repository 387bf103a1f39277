/** Writes one blob: temporary file, checked while streaming, fsync, rename, fsync of the directory. */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { open, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { abortable } from '../abort.ts';
import { systemCode } from '../errors.ts';
import { isOwnerAlive, thisOwner } from '../owner.ts';

/** What an ingest asks of its bytes. */
export interface IngestCheck {
  /** Called with every chunk, in order; what it throws ends the ingest. */
  update(chunk: Uint8Array): void;
  /** Called after the last one; returns the path of the finished blob, or throws when the bytes are not to be kept. */
  end(): string;
}

/**
 * Streams `content` into the path that `check` gives, which appears whole or not at all.
 *
 * The temporary file is removed on every failure; one that a crash left behind falls to {@link sweepIngests}.
 *
 * @param ingestDir - directory of temporary files, on the same file system as the target
 */
export async function ingest(
  ingestDir: string,
  check: IngestCheck,
  content: AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
): Promise<void> {
  signal?.throwIfAborted();
  const temporary = join(ingestDir, `${thisOwner}.${randomBytes(8).toString('hex')}`);
  const file = await open(temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o444);
  let target: string;
  try {
    try {
      for await (const chunk of abortable(content, signal)) {
        // the pool writes while this thread hashes
        const written = writeAll(file, chunk);
        try {
          check.update(chunk);
        } finally {
          await written;
        }
      }
      target = check.end();
      await file.sync();
    } finally {
      await file.close();
    }
    signal?.throwIfAborted();
    await rename(temporary, target);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncDirectory(dirname(target));
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

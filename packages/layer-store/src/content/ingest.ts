/** Writes one blob: temporary file, checked while streaming, fsync, rename, fsync of the directory. */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { open, rename, rm, type FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { abortable } from '../abort.ts';
import { systemCode } from '../errors.ts';
import { thisOwner } from '../owner.ts';

/** What an ingest asks of its bytes. */
export interface IngestCheck {
  /** Called with every chunk, in order; what it throws ends the ingest. */
  update(chunk: Uint8Array): void;
  /** Called after the last one; returns the path of the finished blob, or throws when the bytes are not to be kept. */
  end(): string | Promise<string>;
}

/** Chunks are gathered to pieces of this size: a trip to the thread pool for each would cost as much as the write. */
const WRITE_BYTES = 512 * 1024;
/** The first piece: most blobs are a few kilobytes. */
const FIRST_WRITE_BYTES = 16 * 1024;
/** The disk is put to work each time so much was written: all at the end would be waited for. */
const SYNC_BYTES = 16 * 1024 * 1024;

/** A name in `ingestDir` that says whose it is. @param suffix - what else it says */
export function temporaryPath(ingestDir: string, suffix = ''): string {
  return join(ingestDir, `${thisOwner}.${randomBytes(8).toString('hex')}${suffix}`);
}

/**
 * Streams `content` into the path that `check` gives, which appears whole or not at all.
 *
 * The temporary file is removed on every failure; one that a crash left behind falls to {@link "partial".sweepIngests}.
 *
 * @param ingestDir - directory of temporary files, on the same file system as the target
 * @param onWritten - called with the temporary file and its length so far
 */
export async function ingest(
  ingestDir: string,
  check: IngestCheck,
  content: AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
  onWritten?: (temporary: string, bytes: number) => void,
): Promise<void> {
  signal?.throwIfAborted();
  const temporary = temporaryPath(ingestDir);
  const file = await open(temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o444);
  try {
    try {
      await writeChecked(file, 0, check, content, signal, (bytes) => onWritten?.(temporary, bytes));
      await publish(file, temporary, await check.end(), signal);
    } finally {
      await file.close();
    }
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/**
 * Writes `content` to `file` from `position` on, showing all of it to `check`.
 *
 * @param onWritten - called with the length of the file so far
 */
export async function writeChecked(
  file: FileHandle,
  position: number,
  check: Pick<IngestCheck, 'update'>,
  content: AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
  onWritten: (bytes: number) => void,
): Promise<void> {
  let at = position;
  // chunks are copied: they are their maker's again when the next is asked for
  let piece: Buffer | undefined = Buffer.allocUnsafeSlow(FIRST_WRITE_BYTES);
  let used = 0;
  /** What is being written, and then the next piece. */
  let other: Buffer | undefined;
  let writing: Promise<void> = Promise.resolve();
  let syncing: Promise<void> = Promise.resolve();
  let syncs = false;
  let synced = position;
  const sync = async (): Promise<void> => {
    syncs = true;
    // one that failed ends it all: the disk tells of an error once
    await syncing;
    await file.datasync();
    syncs = false;
  };
  const flush = async (bytes: Buffer): Promise<void> => {
    await writing;
    if (!syncs && at - synced >= SYNC_BYTES) {
      synced = at;
      syncing = sync();
      // heard at the end
      syncing.catch(() => undefined);
    }
    const end = at + bytes.length;
    writing = writeAll(file, bytes, at).then(() => onWritten(end));
    // heard when the next piece, or the end, waits for it
    writing.catch(() => undefined);
    at = end;
    [piece, other] = [other, piece?.length === WRITE_BYTES ? piece : undefined];
    used = 0;
  };
  try {
    for await (const chunk of abortable(content, signal)) {
      // the pool writes while this thread hashes
      check.update(chunk);
      for (let from = 0; from < chunk.length;) {
        piece ??= Buffer.allocUnsafeSlow(WRITE_BYTES);
        const length = Math.min(piece.length - used, chunk.length - from);
        piece.set(chunk.subarray(from, from + length), used);
        used += length;
        from += length;
        // all of a chunk that fills pieces: the next may be long in coming
        if (used === piece.length || (from === chunk.length && from >= WRITE_BYTES))
          await flush(piece.subarray(0, used));
      }
    }
  } finally {
    // what arrived is worth keeping, whatever ended it
    if (piece !== undefined && used > 0) await flush(piece.subarray(0, used));
    await writing;
    await syncing;
  }
}

/** Makes the finished `file` durable and visible as `target`. */
export async function publish(
  file: FileHandle,
  temporary: string,
  target: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  await file.sync();
  signal?.throwIfAborted();
  await rename(temporary, target);
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

async function writeAll(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    at += (await file.write(bytes, at, bytes.length - at, position + at)).bytesWritten;
  }
}

/** Whether `error` says that a file is not there. */
export function isMissing(error: unknown): boolean {
  return systemCode(error) === 'ENOENT';
}

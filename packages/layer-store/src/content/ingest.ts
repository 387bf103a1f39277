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
  let gathered: Uint8Array[] = [];
  let bytes = 0;
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
  const flush = async (): Promise<void> => {
    await writing;
    if (!syncs && at - synced >= SYNC_BYTES) {
      synced = at;
      syncing = sync();
      // heard at the end
      syncing.catch(() => undefined);
    }
    const end = at + bytes;
    writing = writeAll(file, gathered, at).then(() => onWritten(end));
    // heard when the next piece, or the end, waits for it
    writing.catch(() => undefined);
    at = end;
    gathered = [];
    bytes = 0;
  };
  try {
    for await (const chunk of abortable(content, signal)) {
      // the pool writes while this thread hashes
      check.update(chunk);
      gathered.push(chunk);
      bytes += chunk.byteLength;
      if (bytes >= WRITE_BYTES) await flush();
    }
  } finally {
    // what arrived is worth keeping, whatever ended it
    if (bytes > 0) await flush();
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

async function writeAll(file: FileHandle, chunks: Uint8Array[], position: number): Promise<void> {
  let rest = chunks;
  let at = position;
  while (rest.length > 0) {
    let { bytesWritten } = await file.writev(rest, at);
    at += bytesWritten;
    const next = rest.findIndex((chunk) => {
      if (bytesWritten < chunk.byteLength) return true;
      bytesWritten -= chunk.byteLength;
      return false;
    });
    rest = next === -1 ? [] : [rest[next]!.subarray(bytesWritten), ...rest.slice(next + 1)];
  }
}

/** Whether `error` says that a file is not there. */
export function isMissing(error: unknown): boolean {
  return systemCode(error) === 'ENOENT';
}

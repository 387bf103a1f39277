/**
 * Reads the logs that containers' monitors write: one JSON object a line, rotated to `<path>.1`, `<path>.2`, …, which
 * may have been compressed since (`<path>.2.gz`).
 *
 * Nothing here holds a whole file in memory: a tail is found from the end, and following waits for inotify.
 */
import { randomUUID } from 'node:crypto';
import { watch } from 'node:fs';
import { open, unlink, type FileHandle } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';

import { parseTimestamp } from '../time.ts';

/** One line, or one part of a line that was longer than the monitor keeps in one piece. */
export interface LogEntry {
  stream: 'stdout' | 'stderr';
  /** The line with its line feed; a part of a long line has none. */
  text: string;
  /** RFC 3339 with up to nine fraction digits, as the monitor wrote it. */
  time: string;
}

/** What to read. */
export interface LogQuery {
  /** Only the last so many entries, of both streams together; all by default. */
  tail?: number;
  /** Only entries from this time on, in nanoseconds since the epoch. */
  sinceNs?: bigint;
  /** Only entries up to this time. */
  untilNs?: bigint;
  /** Wait for more until this promise settles; what is in the file by then still comes. Default: do not wait. */
  followUntil?: Promise<unknown>;
  signal?: AbortSignal;
}

const CHUNK_BYTES = 64 * 1024;
const LINE_FEED = 0x0a;

/** A log as it was when it was opened, and what has been written to it since. Read it once; then dispose of it. */
export class LogReader implements AsyncDisposable, AsyncIterable<LogEntry[]> {
  readonly #path: string;
  readonly #query: LogQuery;
  readonly #changes: DirectoryChanges | undefined;
  readonly #files: FileHandle[];
  readonly #start: TailPosition;

  private constructor(
    path: string,
    query: LogQuery,
    changes: DirectoryChanges | undefined,
    files: FileHandle[],
    start: TailPosition,
  ) {
    this.#path = path;
    this.#query = query;
    this.#changes = changes;
    this.#files = files;
    this.#start = start;
  }

  /**
   * Opens a log; one that is not there is empty. Where a tail begins is settled when this resolves, and nothing that is
   * written from then on is missed.
   */
  static async open(path: string, query: LogQuery = {}): Promise<LogReader> {
    await using undo = new AsyncDisposableStack();
    // watching begins before the first look
    const changes =
      query.followUntil && undo.use(new DirectoryChanges(path, query.followUntil, query.signal));
    const files = await openFiles(path);
    undo.defer(() => closeAll(files));
    const start = query.tail === undefined ? { file: 0, offset: 0 } : await findTail(files, query.tail);
    undo.move();
    return new LogReader(path, query, changes, files, start);
  }

  /** The entries, oldest first, as many at a time as there are at hand. @throws the signal's reason */
  async *[Symbol.asyncIterator](): AsyncGenerator<LogEntry[]> {
    const { sinceNs, untilNs, signal } = this.#query;
    for await (const lines of this.#lines()) {
      signal?.throwIfAborted();
      let entries = lines.map(parseEntry).filter((entry) => entry !== undefined);
      if (sinceNs !== undefined)
        entries = entries.filter(({ time }) => (parseTimestamp(time) ?? 0n) >= sinceNs);
      const end =
        untilNs === undefined ? -1 : entries.findIndex(({ time }) => (parseTimestamp(time) ?? 0n) > untilNs);
      if (end >= 0) entries = entries.slice(0, end);
      if (entries.length > 0) yield entries;
      if (end >= 0) return;
    }
  }

  async *#lines(): AsyncGenerator<string[]> {
    const files = this.#files;
    const start = this.#start;
    let reader: LineReader | undefined;
    for (let index = start.file; index < files.length; index += 1) {
      reader = new LineReader(files[index]!, index === start.file ? start.offset : 0);
      yield* reader.lines();
    }
    const changes = this.#changes;
    if (!changes) return;
    for (;;) {
      const more = await changes.next();
      if (reader) yield* reader.lines();
      const newer = await openNewer(this.#path, files.at(-1));
      // the old file is complete once a newer one exists, so what it got last is still to come
      if (newer.length > 0 && reader) yield* reader.lines();
      files.push(...newer);
      for (const file of newer) {
        reader = new LineReader(file, 0);
        yield* reader.lines();
      }
      if (!more) return;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#changes?.[Symbol.dispose]();
    await closeAll(this.#files.splice(0));
  }
}

/** An entry as our monitor writes it. Its text has no quote that is not escaped, so this cannot match too little. */
const PLAIN_ENTRY = /^\{"log":"([^"\\]*)(\\n)?","stream":"(stdout|stderr)","time":"([0-9TZ:.+-]{20,35})"\}$/;

/** Undefined for a line that is no entry: one cut short by a full disk or a power failure. */
function parseEntry(line: string): LogEntry | undefined {
  // nearly every line is one without escapes, for which a whole JSON parser takes twice as long
  const plain = PLAIN_ENTRY.exec(line);
  if (plain) {
    const [, text, lineFeed, stream, time] = plain;
    return {
      stream: stream as LogEntry['stream'],
      text: lineFeed === undefined ? text! : `${text}\n`,
      time: time!,
    };
  }
  let raw: { log?: unknown; stream?: unknown; time?: unknown };
  try {
    raw = JSON.parse(line) as typeof raw;
  } catch {
    // a damaged line must not hide the rest of the log
    return undefined;
  }
  const { log, stream, time } = raw;
  if (typeof log !== 'string' || typeof time !== 'string') return undefined;
  return { stream: stream === 'stderr' ? 'stderr' : 'stdout', text: log, time };
}

/** The files of a log, oldest first. */
async function openFiles(path: string): Promise<FileHandle[]> {
  const files: FileHandle[] = [];
  try {
    const current = await openExisting(path);
    if (current) files.push(current);
    for (let index = 1; ; index += 1) {
      const older = (await openExisting(`${path}.${index}`)) ?? (await openCompressed(`${path}.${index}.gz`));
      if (!older) return files;
      files.unshift(older);
    }
  } catch (error) {
    await closeAll(files);
    throw error;
  }
}

async function closeAll(files: readonly FileHandle[]): Promise<void> {
  await Promise.all(files.map((file) => file.close()));
}

async function openExisting(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/**
 * What was compressed, in a file that goes with its handle; undefined when it is not there, or no younger than `before`.
 * Of one that is damaged, as much as can be read.
 */
async function openCompressed(path: string, before?: FileHandle): Promise<FileHandle | undefined> {
  const source = await openExisting(path);
  if (!source) return undefined;
  await using _source = source;
  // what is compressed is not written any more, so its time is looked at first
  const { mtimeMs } = await source.stat();
  if (before && mtimeMs <= (await before.stat()).mtimeMs) return undefined;
  const place = join(dirname(path), `.read-${randomUUID()}`);
  const file = await open(place, 'wx+', 0o600);
  try {
    await unlink(place);
    await pipeline(
      source.createReadStream({ start: 0, autoClose: false }),
      createGunzip(),
      file.createWriteStream({ start: 0, autoClose: false }),
    );
  } catch (error) {
    if (!String((error as NodeJS.ErrnoException).code).startsWith('Z_')) {
      await file.close();
      throw error;
    }
  }
  return file;
}

/** The files of the log that are newer than `current`, oldest first: more than one when it was rotated twice. */
async function openNewer(path: string, current: FileHandle | undefined): Promise<FileHandle[]> {
  const known = new Set<string>();
  if (current) known.add(await identity(current));
  const files: FileHandle[] = [];
  for (let index = 0; ; index += 1) {
    const file = await openExisting(index === 0 ? path : `${path}.${index}`);
    if (!file) {
      const compressed = index > 0 ? await openCompressed(`${path}.${index}.gz`, current) : undefined;
      if (!compressed) return files;
      files.unshift(compressed);
      continue;
    }
    const id = await identity(file);
    if (known.has(id)) {
      await file.close();
      // one that was renamed while we looked is seen twice; the one we come from is the last
      if (current === undefined || id !== (await identity(current))) continue;
      return files;
    }
    known.add(id);
    files.unshift(file);
    if (!current) return files;
  }
}

async function identity(file: FileHandle): Promise<string> {
  const { dev, ino } = await file.stat();
  return `${dev}:${ino}`;
}

/** A place in a log: which of its files, and where in it. */
interface TailPosition {
  file: number;
  offset: number;
}

/** Where the last `count` lines begin. */
async function findTail(files: readonly FileHandle[], count: number): Promise<TailPosition> {
  let missing = count;
  const chunk = Buffer.alloc(CHUNK_BYTES);
  for (let file = files.length - 1; file >= 0; file -= 1) {
    const handle = files[file]!;
    let end = (await handle.stat()).size;
    if (missing === 0) return { file, offset: end };
    // the line feed at the very end closes the last line, it does not begin another
    let atEnd = true;
    while (end > 0) {
      const from = Math.max(0, end - CHUNK_BYTES);
      const { bytesRead } = await handle.read(chunk, 0, end - from, from);
      for (let index = bytesRead - 1; index >= 0; index -= 1) {
        if (chunk[index] === LINE_FEED && !atEnd) {
          missing -= 1;
          if (missing === 0) return { file, offset: from + index + 1 };
        }
        atEnd = false;
      }
      end = from;
    }
    if (!atEnd) {
      missing -= 1;
      if (missing === 0) return { file, offset: 0 };
    }
  }
  return { file: 0, offset: 0 };
}

/** Reads a growing file line by line; `lines` may be called again when there is more. */
class LineReader {
  readonly #file: FileHandle;
  #position: number;
  #rest: Buffer = Buffer.alloc(0);

  constructor(file: FileHandle, position: number) {
    this.#file = file;
    this.#position = position;
  }

  /** The complete lines there are, a chunk at a time. */
  async *lines(): AsyncGenerator<string[]> {
    for (;;) {
      const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
      const { bytesRead } = await this.#file.read(chunk, 0, CHUNK_BYTES, this.#position);
      if (bytesRead === 0) {
        // a file that shrank was emptied in place
        if ((await this.#file.stat()).size < this.#position) {
          this.#position = 0;
          this.#rest = Buffer.alloc(0);
          continue;
        }
        return;
      }
      this.#position += bytesRead;
      const read = chunk.subarray(0, bytesRead);
      const data = this.#rest.length === 0 ? read : Buffer.concat([this.#rest, read]);
      const end = data.lastIndexOf(LINE_FEED);
      this.#rest = data.subarray(end + 1);
      if (end >= 0) yield data.toString('utf8', 0, end).split('\n');
    }
  }
}

/** Wakes a reader when a file of its log changes, and for the last time when there will be no more. */
class DirectoryChanges implements Disposable {
  readonly #watcher;
  #dirty = false;
  #ended = false;
  #wake: (() => void) | undefined;
  readonly #signal: AbortSignal | undefined;
  readonly #onAbort = (): void => this.#wake?.();

  constructor(path: string, until: Promise<unknown>, signal: AbortSignal | undefined) {
    const name = basename(path);
    this.#watcher = watch(dirname(path), (_event, file) => {
      if (file === null || file.startsWith(name)) this.#notify();
    });
    // the container's directory going away ends the log; its removal is what the reader will see
    this.#watcher.on('error', () => this.#end());
    const end = (): void => this.#end();
    until.then(end, end);
    this.#signal = signal;
    signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  /** Resolves with true after a change, with false when the end was reached. @throws the signal's reason */
  async next(): Promise<boolean> {
    while (!this.#dirty && !this.#ended) {
      this.#signal?.throwIfAborted();
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      await promise;
    }
    this.#dirty = false;
    return !this.#ended;
  }

  #notify(): void {
    this.#dirty = true;
    this.#wake?.();
  }

  #end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  [Symbol.dispose](): void {
    this.#watcher.close();
    this.#signal?.removeEventListener('abort', this.#onAbort);
  }
}

/**
 * The thread's side of unpacking in parallel. The calls that it needs cannot be handed to a thread, so whoever composes
 * the packages writes the thread's program, in two lines: import a `LayerFs`, give it to {@link serveUnpacking}.
 */
import { readSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { applyLayer } from '../apply.ts';
import { detectCompression } from '../compression.ts';
import { LayerStoreError, systemCode } from '../errors.ts';
import type { LayerFs } from '../fs.ts';
import type { PlainError, Reply, Request, UnpackJob } from './protocol.ts';

/** Bytes per read of the blob. */
const READ_CHUNK = 256 * 1024;
/** As many as tell how a file is compressed. */
const MAGIC_BYTES = 6;
/** Bytes between two words on how far it is. */
const PROGRESS_BYTES = 1024 * 1024;

/**
 * Makes this thread unpack layers for the `LayerStore` that started it (option `workers`). Call it once, first thing.
 *
 * @throws {LayerStoreError} `INVALID_ARGUMENT` outside of a worker thread
 */
export function serveUnpacking(fs: LayerFs): void {
  const port = parentPort;
  if (port === null) {
    throw new LayerStoreError('INVALID_ARGUMENT', 'serveUnpacking is for worker threads');
  }
  const reply = (message: Reply): void => port.postMessage(message);
  let running = new AbortController();
  let file = new JobFile(false);
  port.on('message', (request: Request) => {
    if (request.kind === 'abort') {
      running.abort();
      file.end();
    } else if (request.kind === 'grown') file.grow(request.bytes, request.whole);
    else {
      running = new AbortController();
      file = new JobFile(request.job.grows);
      unpack(fs, request.job, file, running.signal, reply).then(
        (applied) => reply({ kind: 'done', applied }),
        (error: unknown) => reply({ kind: 'failed', error: toPlain(error) }),
      );
    }
  });
}

async function unpack(
  fs: LayerFs,
  job: UnpackJob,
  file: JobFile,
  signal: AbortSignal,
  reply: (message: Reply) => void,
) {
  const { fd, grows: _, directory, ...options } = job;
  let told = 0;
  return applyLayer(bytesOf(fd, file), directory, {
    ...options,
    ownThread: true,
    fs,
    signal,
    onProgress: (bytesRead) => {
      if (bytesRead - told < PROGRESS_BYTES) return;
      told = bytesRead;
      reply({ kind: 'progress', bytesRead });
    },
  });
}

/** How much there is of the file of a job. */
class JobFile {
  /** Infinite when the file is whole: then it tells of its end itself. */
  #bytes: number;
  #wake: (() => void) | undefined;

  constructor(grows: boolean) {
    this.#bytes = grows ? 0 : Infinity;
  }

  grow(bytes: number, whole: boolean): void {
    this.#bytes = whole ? Infinity : Math.max(this.#bytes, bytes);
    this.#wake?.();
  }

  /** Nobody waits for more. */
  end(): void {
    this.grow(0, true);
  }

  /** Waits until there are more bytes than `position`. @returns how many there are */
  async beyond(position: number): Promise<number> {
    while (this.#bytes <= position) await new Promise<void>((resolve) => (this.#wake = resolve));
    return this.#bytes;
  }
}

/**
 * The bytes of a file, read on this thread: nothing else waits for it. Of a gzip file a piece is valid until the next is
 * asked for; what inflates others may hold on to it.
 */
async function* bytesOf(fd: number, file: JobFile): AsyncGenerator<Uint8Array, void, undefined> {
  let buffer = Buffer.allocUnsafeSlow(READ_CHUNK);
  let reuse: boolean | undefined;
  let available = 0;
  for (let position = 0; ;) {
    if (available <= position) available = await file.beyond(position);
    const length = readSync(fd, buffer, 0, Math.min(buffer.length, available - position), position);
    if (length === 0) return;
    position += length;
    reuse ??= length >= MAGIC_BYTES && detectCompression(buffer) === 'gzip';
    yield buffer.subarray(0, length);
    if (!reuse) buffer = Buffer.allocUnsafeSlow(READ_CHUNK);
  }
}

function toPlain(error: unknown): PlainError {
  const known = error instanceof LayerStoreError ? error : undefined;
  const message = error instanceof Error ? error.message : String(error);
  const cause = known === undefined ? error : known.cause;
  return { code: known?.code, message, entry: known?.entry, cause: plainCause(cause) };
}

/** System errors lose their code by cloning; what is no error may not be cloned at all. */
function plainCause(cause: unknown): unknown {
  if (!(cause instanceof Error)) return undefined;
  const { errno, syscall, path } = cause as NodeJS.ErrnoException;
  return { message: cause.message, code: systemCode(cause), errno, syscall, path };
}

/**
 * Compresses the files that containers' logs were rotated to: `<path>.1` becomes `<path>.1.gz`. The monitors write and
 * rotate on meanwhile; a container never waits for this.
 */
import {
  closeSync,
  createReadStream,
  createWriteStream,
  existsSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  unlinkSync,
  utimesSync,
  watch,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { createGzip } from 'node:zlib';
import type { Logger } from 'pino';

import { messageOf } from '../errors.ts';
import type { ContainerLog } from './drivers.ts';

/** Takes the lock under which the names of a log's files change, unless somebody has it. It goes with the descriptor. */
export type TryLock = (fd: number) => boolean;

/** The other side holds the lock for a few system calls. */
const LOCK_RETRY_MS = 5;

/** Where a file grows that is to take another's place: neither readers nor watchers take it for one of the log's. */
function unfinishedOf(path: string): string {
  return join(dirname(path), `.${basename(path)}.gz-unfinished`);
}

/** Disposing of it ends the work; what was not compressed yet is compressed by the next engine. */
export class LogCompressor implements AsyncDisposable {
  readonly #tryLock: TryLock;
  readonly #log: Logger;
  readonly #closing = new AbortController();
  readonly #running = new Set<Promise<void>>();

  constructor(tryLock: TryLock, log: Logger) {
    this.#tryLock = tryLock;
    this.#log = log;
  }

  /** Compresses what a log is rotated to, until its container has ended. */
  begin(id: string, { path, maxFiles }: ContainerLog, ended: Promise<unknown>): void {
    const running = this.#follow(path, maxFiles, ended)
      .catch((error: unknown) => {
        // a log that is removed under our hands needs no compressing
        if (this.#closing.signal.aborted || (error as NodeJS.ErrnoException).code === 'ENOENT') return;
        this.#log.error({ err: error, container: id }, `compressing a log: ${messageOf(error)}`);
      })
      .finally(() => this.#running.delete(running));
    this.#running.add(running);
  }

  async #follow(path: string, maxFiles: number, ended: Promise<unknown>): Promise<void> {
    const { signal } = this.#closing;
    const over = new AbortController();
    let wake = (): void => {};
    let dirty = true;
    const first = `${basename(path)}.1`;
    const end = (): void => {
      over.abort();
      wake();
    };
    const watcher = watch(dirname(path), (_event, name) => {
      if (name !== null && name !== first) return;
      dirty = true;
      wake();
    }).on('error', end);
    void ended.finally(end);
    signal.addEventListener('abort', end, { once: true });
    try {
      while (!over.signal.aborted) {
        if (dirty) {
          dirty = false;
          await this.#compressAll(path, maxFiles);
        } else await new Promise<void>((resolve) => (wake = resolve));
      }
      if (!signal.aborted) await this.#compressAll(path, maxFiles);
    } finally {
      signal.removeEventListener('abort', end);
      watcher.close();
    }
  }

  async #compressAll(path: string, maxFiles: number): Promise<void> {
    // oldest first: it is the one that a rotation would let go of
    for (let number = maxFiles - 1; number > 0; number -= 1) {
      if (existsSync(`${path}.${number}`)) await this.#compress(path, number, maxFiles);
    }
  }

  async #compress(path: string, number: number, maxFiles: number): Promise<void> {
    const unfinished = unfinishedOf(path);
    const source = openIfThere(`${path}.${number}`);
    if (source === undefined) return;
    try {
      const { ino, atime, mtimeMs } = statSync(`/proc/self/fd/${source}`);
      try {
        await pipeline(
          createReadStream('', { fd: source, autoClose: false, start: 0 }),
          createGzip(),
          createWriteStream(unfinished, { mode: 0o640 }),
          { signal: this.#closing.signal },
        );
        // tells a reader which of two files is the newer one; rounded it could be newer than what it was made of
        utimesSync(unfinished, atime, new Date(Math.floor(mtimeMs)));
        await this.#replace(path, ino, unfinished, maxFiles);
      } finally {
        rmSync(unfinished, { force: true });
      }
    } finally {
      closeSync(source);
    }
  }

  /** Puts the compressed file in the place of the one it was made of, wherever that is by now. */
  async #replace(path: string, ino: number, compressed: string, maxFiles: number): Promise<void> {
    while (!this.#closing.signal.aborted) {
      const current = openIfThere(path);
      if (current === undefined) return;
      try {
        if (this.#tryLock(current) && isAt(path, statSync(`/proc/self/fd/${current}`).ino)) {
          for (let number = 1; number < maxFiles; number += 1) {
            const place = `${path}.${number}`;
            if (!isAt(place, ino)) continue;
            renameSync(compressed, `${place}.gz`);
            unlinkSync(place);
          }
          return;
        }
      } finally {
        closeSync(current);
      }
      await sleep(LOCK_RETRY_MS);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new Error('the engine is shutting down'));
    await Promise.all(this.#running);
  }
}

function isAt(path: string, ino: number): boolean {
  return statSync(path, { throwIfNoEntry: false })?.ino === ino;
}

function openIfThere(path: string): number | undefined {
  try {
    return openSync(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

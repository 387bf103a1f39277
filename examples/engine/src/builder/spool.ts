/** Bytes of many files, one after the other in a single file: writing, reading and removing them costs a fraction. */
import { createHash } from 'node:crypto';
import { closeSync, ftruncateSync, openSync, readSync, unlinkSync, writeSync } from 'node:fs';

import type { FileBytes } from '../containers/trees.ts';

/** What is all zeros and at least this long becomes a hole. */
const HOLE_BYTES = 4096;
const ZEROS = Buffer.alloc(64 * 1024);
/** A few bytes can say that a file has gigabytes of zeros: then its digest is made when it is needed, bit by bit. */
const MAX_HOLES_BYTES = 16 * 1024 * 1024;

/** A file without a name, gone when nobody holds it any more. */
export class Spool {
  readonly #fd: number;
  #sizeBytes = 0;
  #holders = 0;

  /** @param path - where there is no file yet */
  constructor(path: string) {
    this.#fd = openSync(path, 'wx+', 0o600);
    // nothing to remove, whatever happens
    unlinkSync(path);
  }

  /** Bytes that were reserved. */
  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** Keeps it until that is disposed of. */
  hold(): Disposable {
    this.#holders += 1;
    let held = true;
    return {
      [Symbol.dispose]: () => {
        if (!held) return;
        held = false;
        this.#holders -= 1;
        if (this.#holders === 0) closeSync(this.#fd);
      },
    };
  }

  /** Starts a file. Several can be written at the same time. */
  create(): SpoolWriter {
    return new SpoolWriter(this.#fd, (bytes) => {
      const offset = this.#sizeBytes;
      this.#sizeBytes += bytes;
      return offset;
    });
  }

  /** Makes holes at the end part of the file: call it before anything is read. */
  finish(): void {
    ftruncateSync(this.#fd, this.#sizeBytes);
  }
}

/** Where bytes of a file are. */
interface Extent {
  offset: number;
  length: number;
}

/** One file in the making. */
export class SpoolWriter {
  readonly #fd: number;
  readonly #reserve: (bytes: number) => number;
  readonly #extents: Extent[] = [];
  readonly #hash = createHash('sha256');
  #sizeBytes = 0;
  #holeBytes = 0;

  /** @param reserve - gives a place in the spool */
  constructor(fd: number, reserve: (bytes: number) => number) {
    this.#fd = fd;
    this.#reserve = reserve;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  append(bytes: Uint8Array): void {
    const offset = this.#extend(bytes.length);
    this.#hash.update(bytes);
    if (isHole(bytes)) return;
    for (let at = 0; at < bytes.length;) {
      at += writeSync(this.#fd, bytes, at, bytes.length - at, offset + at);
    }
  }

  /** Zeros up to `sizeBytes`. */
  extendTo(sizeBytes: number): void {
    const bytes = sizeBytes - this.#sizeBytes;
    if (bytes <= 0) return;
    this.#extend(bytes);
    this.#holeBytes += bytes;
    if (this.#holeBytes > MAX_HOLES_BYTES) return;
    for (let rest = bytes; rest > 0; rest -= ZEROS.length) this.#hash.update(ZEROS.subarray(0, rest));
  }

  end(): FileBytes {
    const fd = this.#fd;
    const extents = this.#extents;
    return {
      digest: this.#holeBytes > MAX_HOLES_BYTES ? undefined : this.#hash.digest('hex'),
      read: (buffer, start, length, position) =>
        readExtents(fd, extents, { buffer, start, length, position }),
    };
  }

  #extend(bytes: number): number {
    const offset = this.#reserve(bytes);
    const last = this.#extents.at(-1);
    if (last && last.offset + last.length === offset) last.length += bytes;
    else this.#extents.push({ offset, length: bytes });
    this.#sizeBytes += bytes;
    return offset;
  }
}

function readExtents(
  fd: number,
  extents: readonly Extent[],
  wanted: { buffer: Uint8Array; start: number; length: number; position: number },
): void {
  let { start, length, position } = wanted;
  for (const extent of extents) {
    if (position >= extent.length) {
      position -= extent.length;
      continue;
    }
    let rest = Math.min(length, extent.length - position);
    length -= rest;
    while (rest > 0) {
      const got = readSync(fd, wanted.buffer, start, rest, extent.offset + position);
      if (got === 0) break;
      start += got;
      position += got;
      rest -= got;
    }
    if (rest > 0) break;
    position = 0;
    if (length === 0) return;
  }
  if (length > 0) throw new Error('a file of a build context is shorter than it was');
}

function isHole(bytes: Uint8Array): boolean {
  if (bytes.length < HOLE_BYTES || bytes[0] !== 0) return false;
  for (let at = 0; at < bytes.length; at += ZEROS.length) {
    const piece = bytes.subarray(at, at + ZEROS.length);
    if (ZEROS.compare(piece, 0, piece.length, 0, piece.length) !== 0) return false;
  }
  return true;
}

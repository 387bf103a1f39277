/** Bytes of many files, one after the other in a single file: writing, reading and removing them costs a fraction. */
import { createHash, type Hash } from 'node:crypto';
import { closeSync, ftruncateSync, openSync, readSync, unlinkSync, writeSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import type { FileHasher, HashedFile } from '@tare/layer-store';

import type { FileBytes } from '../containers/trees.ts';

/** What is all zeros and at least this long becomes a hole. */
const HOLE_BYTES = 4096;
const ZEROS = Buffer.alloc(64 * 1024);
/** A few bytes can say that a file has gigabytes of zeros: then its digest is made when it is needed. */
const MAX_HOLES_BYTES = 16 * 1024 * 1024;
/** Of less, this thread makes the digests sooner than another begins. */
const MANY_BYTES = 1024 * 1024;
/** Pieces in which a file is hashed on the calling thread. */
const PIECE_BYTES = 256 * 1024;

/** A file without a name, gone when nobody holds it any more. */
export class Spool {
  readonly #fd: number;
  readonly #hashed: HashedFile | undefined;
  #sizeBytes = 0;
  #holders = 0;

  /**
   * @param path - where there is no file yet
   * @param hasher - finds the digests of files while others are written. Default: the calling thread does
   */
  constructor(path: string, hasher?: FileHasher) {
    this.#fd = openSync(path, 'wx+', 0o600);
    // nothing to remove, whatever happens
    unlinkSync(path);
    this.#hashed = hasher?.open(this.#fd);
  }

  /** Bytes that were reserved. */
  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** How many keep it. */
  get holders(): number {
    return this.#holders;
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
        if (this.#holders > 0) return;
        closeSync(this.#fd);
        this.#hashed?.[Symbol.dispose]();
      },
    };
  }

  /** Starts a file. Several can be written at the same time. */
  create(): SpoolWriter {
    return new SpoolWriter(this.#fd, this.#hashed, {
      reserve: (bytes) => {
        const offset = this.#sizeBytes;
        this.#sizeBytes += bytes;
        return offset;
      },
      lengthen: () => ftruncateSync(this.#fd, this.#sizeBytes),
      isLarge: () => this.#sizeBytes > MANY_BYTES,
    });
  }
}

/** What a file takes of its spool. */
interface SpoolSpace {
  /** A place for so many bytes. @returns where it begins */
  reserve(bytes: number): number;
  /** Makes holes that end the spool part of it: what was reserved can be read. */
  lengthen(): void;
  /** Whether digests are better left to another thread. */
  isLarge(): boolean;
}

/** Where bytes of a file are. */
interface Extent {
  offset: number;
  length: number;
}

/** One file in the making. */
export class SpoolWriter {
  readonly #fd: number;
  readonly #hashed: HashedFile | undefined;
  readonly #space: SpoolSpace;
  readonly #extents: Extent[] = [];
  /** When this thread hashes what is written. */
  #hash: Hash | undefined;
  #sizeBytes = 0;
  #holeBytes = 0;
  #hasHoles = false;

  constructor(fd: number, hashed: HashedFile | undefined, space: SpoolSpace) {
    this.#fd = fd;
    this.#hashed = hashed;
    this.#space = space;
    this.#hash = this.#isLeft() ? undefined : createHash('sha256');
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  append(bytes: Uint8Array): void {
    const offset = this.#extend(bytes.length);
    if (this.#isLeft()) this.#hash = undefined;
    this.#hash?.update(bytes);
    if (isHole(bytes)) {
      this.#hasHoles = true;
      return;
    }
    for (let at = 0; at < bytes.length;) {
      at += writeSync(this.#fd, bytes, at, bytes.length - at, offset + at);
    }
  }

  /** Zeros up to `sizeBytes`. */
  extendTo(sizeBytes: number): void {
    const bytes = sizeBytes - this.#sizeBytes;
    if (bytes <= 0) return;
    this.#extend(bytes);
    this.#hasHoles = true;
    this.#holeBytes += bytes;
    if (this.#isLeft()) this.#hash = undefined;
    if (this.#hash === undefined || this.#holeBytes > MAX_HOLES_BYTES) return;
    for (let rest = bytes; rest > 0; rest -= ZEROS.length) this.#hash.update(ZEROS.subarray(0, rest));
  }

  end(): FileBytes {
    if (this.#hasHoles) this.#space.lengthen();
    const file = new SpooledFile(this.#fd, this.#hashed, this.#extents);
    if (this.#holeBytes > MAX_HOLES_BYTES) return file;
    if (this.#hash === undefined) void file.begin();
    else file.known = this.#hash.digest('hex');
    return file;
  }

  /** Whether the digest is left to another thread. */
  #isLeft(): boolean {
    return this.#hashed !== undefined && this.#space.isLarge();
  }

  #extend(bytes: number): number {
    const offset = this.#space.reserve(bytes);
    const last = this.#extents.at(-1);
    if (last && last.offset + last.length === offset) last.length += bytes;
    else this.#extents.push({ offset, length: bytes });
    this.#sizeBytes += bytes;
    return offset;
  }
}

/** A file that is whole. */
class SpooledFile implements FileBytes {
  /** Its digest. */
  known: string | undefined;
  readonly #fd: number;
  readonly #hashed: HashedFile | undefined;
  readonly #extents: readonly Extent[];
  #elsewhere: Promise<void> | undefined;
  #hashing: Promise<string> | undefined;

  constructor(fd: number, hashed: HashedFile | undefined, extents: readonly Extent[]) {
    this.#fd = fd;
    this.#hashed = hashed;
    this.#extents = extents;
  }

  read(buffer: Uint8Array, start: number, length: number, position: number): void {
    readExtents(this.#fd, this.#extents, { buffer, start, length, position });
  }

  digest(): string | Promise<string> {
    return this.known ?? (this.#hashing ??= this.#digest());
  }

  /** Has it hashed by the other thread; what keeps that from it is no matter before somebody asks. */
  begin(): Promise<void> {
    const hash = this.#hashed?.begin();
    for (const { offset, length } of this.#extents) hash?.add(offset, length);
    return (this.#elsewhere ??= Promise.resolve(hash?.digest()).then(
      (digest) => void (this.known = digest),
      () => undefined,
    ));
  }

  async #digest(): Promise<string> {
    await (this.#elsewhere ?? this.begin());
    return (this.known ??= await this.#digestHere());
  }

  async #digestHere(): Promise<string> {
    const hash = createHash('sha256');
    const buffer = Buffer.allocUnsafe(PIECE_BYTES);
    const size = this.#extents.reduce((sum, { length }) => sum + length, 0);
    for (let at = 0; at < size; at += buffer.length) {
      const length = Math.min(buffer.length, size - at);
      this.read(buffer, 0, length, at);
      hash.update(buffer.subarray(0, length));
      await setImmediate();
    }
    return hash.digest('hex');
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

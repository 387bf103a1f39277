/** How far a pull is, in Docker's words and at a rate that a terminal can follow. */
import type { Descriptor, Digest } from '@tare/image-spec';
import { shortId } from './names.ts';

/** One progress message; `progressDetail` is empty for steps without a measure. */
export interface PullMessage {
  status: string;
  id?: string;
  progressDetail?: { current?: number; total?: number };
}

/** Least time between two messages on the bytes of one layer. */
const INTERVAL_MS = 100;

/** Tells of the layers of one image. */
export class PullProgress {
  readonly #onMessage: (message: PullMessage) => void;
  /** Layers told of, and when their bytes were last. */
  readonly #told = new Map<Digest, number>();

  constructor(onMessage: (message: PullMessage) => void) {
    this.#onMessage = onMessage;
  }

  /** Whether `digest` is one of the layers told of. */
  knows(digest: Digest): boolean {
    return this.#told.has(digest);
  }

  /** A step of a layer, which becomes known by it. */
  layer(descriptor: Descriptor, status: string): void {
    this.#told.set(descriptor.digest, 0);
    this.#say(descriptor.digest, status, {});
  }

  /** Bytes of a layer that have arrived. */
  downloading(descriptor: Descriptor, bytes: number): void {
    this.#bytes(descriptor, 'Downloading', bytes);
  }

  /** Compressed bytes of a layer that have been unpacked. */
  extracting(descriptor: Descriptor, bytes: number): void {
    this.#bytes(descriptor, 'Extracting', bytes);
  }

  /** The end of a step of a known layer; others (configs, manifests) are not worth a line. */
  done(digest: Digest, status: string): void {
    if (!this.#told.has(digest)) return;
    this.#told.set(digest, 0);
    this.#say(digest, status, {});
  }

  #bytes({ digest, size }: Descriptor, status: string, bytes: number): void {
    const now = performance.now();
    const last = this.#told.get(digest) ?? 0;
    if (last !== 0 && now - last < INTERVAL_MS && bytes < size) return;
    this.#told.set(digest, now);
    this.#say(digest, status, { current: Math.min(bytes, size), total: size });
  }

  #say(digest: Digest, status: string, progressDetail: { current?: number; total?: number }): void {
    this.#onMessage({ status, progressDetail, id: shortId(digest) });
  }
}

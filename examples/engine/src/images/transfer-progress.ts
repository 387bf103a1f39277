/** How far a pull or push is, in Docker's words and at a rate that a terminal can follow. */
import type { Descriptor, Digest } from '@tare/image-spec';
import { shortId } from './names.ts';

/** One line of progress; `progressDetail` is empty for steps without a measure. */
export interface ProgressLine {
  status: string;
  id?: string;
  progressDetail?: { current?: number; total?: number };
}

/** Least time between two messages on the bytes of one layer. */
const INTERVAL_MS = 100;

/** Tells of the layers of one image. */
export class TransferProgress {
  readonly #onMessage: (message: ProgressLine) => void;
  /** Layers told of: the name each has in messages, and when its bytes were last told. */
  readonly #told = new Map<Digest, { id: string; lastMs: number }>();

  constructor(onMessage: (message: ProgressLine) => void) {
    this.#onMessage = onMessage;
  }

  /** Whether `digest` is one of the layers told of. */
  knows(digest: Digest): boolean {
    return this.#told.has(digest);
  }

  /** A step of a layer, which becomes known by it. @param id - its name in messages; default: its digest's begin */
  layer({ digest }: Descriptor, status: string, id?: string): void {
    this.#told.set(digest, { id: id ?? this.#told.get(digest)?.id ?? shortId(digest), lastMs: 0 });
    this.#say(digest, status, {});
  }

  /** Bytes of a known layer that have moved or been unpacked. */
  bytes({ digest, size }: Descriptor, status: string, bytes: number): void {
    const layer = this.#told.get(digest);
    if (!layer) return;
    const now = performance.now();
    if (layer.lastMs !== 0 && now - layer.lastMs < INTERVAL_MS && bytes < size) return;
    layer.lastMs = now;
    this.#say(digest, status, { current: Math.min(bytes, size), total: size });
  }

  /** The end of a step of a known layer; others (configs, manifests) are not worth a line. */
  done(digest: Digest, status: string): void {
    const layer = this.#told.get(digest);
    if (!layer) return;
    layer.lastMs = 0;
    this.#say(digest, status, {});
  }

  #say(digest: Digest, status: string, progressDetail: { current?: number; total?: number }): void {
    this.#onMessage({ status, progressDetail, id: this.#told.get(digest)!.id });
  }
}

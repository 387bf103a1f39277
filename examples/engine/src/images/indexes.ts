/**
 * Images for other machines that were built together with one that has a name here: a push of that name takes all of them.
 * They have no names, and nothing of them outlives the daemon: a later push is one of the image that is here.
 */
import type { Descriptor, Digest } from '@tare/image-spec';
import type { ContentSource } from '@tare/image-spec/content';

/** An index of images, with where everything below it can be read. */
export interface IndexToPush {
  root: Descriptor;
  source: ContentSource;
}

/** Makes an index that may be pushed. */
export type MakeIndex = (signal: AbortSignal) => Promise<IndexToPush>;

interface Remembered {
  id: Digest;
  make: MakeIndex;
  held: Disposable;
}

/** As many as a person builds before pushing them. */
const MAX_REMEMBERED = 16;

/** What names are more than the image that is here. */
export class Indexes {
  /** By canonical name, the oldest first. */
  readonly #remembered = new Map<string, Remembered>();

  /** @param held - keeps what the index is made of; disposed of when it is forgotten */
  remember(name: string, id: Digest, make: MakeIndex, held: Disposable): void {
    this.forget(name);
    this.#remembered.set(name, { id, make, held });
    const [oldest] = this.#remembered.keys();
    if (this.#remembered.size > MAX_REMEMBERED && oldest !== undefined) this.forget(oldest);
  }

  /** The index of a name that means the image `id`; undefined for that alone. */
  of(name: string, id: Digest): MakeIndex | undefined {
    const found = this.#remembered.get(name);
    if (found?.id === id) return found.make;
    // the name has moved since
    this.forget(name);
    return undefined;
  }

  forget(name: string): void {
    this.#remembered.get(name)?.held[Symbol.dispose]();
    this.#remembered.delete(name);
  }

  clear(): void {
    for (const name of this.#remembered.keys()) this.forget(name);
  }
}

/** What is in use by work under way, and must not be removed although no image refers to it yet. */

/** Counts holders per key. Keys are digests of blobs and chainIDs of layers. */
export class Leases {
  readonly #holders = new Map<string, number>();

  /** Holds `keys` until the result is disposed of. */
  hold(keys: Iterable<string>): Disposable {
    const held = [...keys];
    for (const key of held) this.#holders.set(key, (this.#holders.get(key) ?? 0) + 1);
    let released = false;
    return {
      [Symbol.dispose]: () => {
        if (released) return;
        released = true;
        for (const key of held) {
          const left = (this.#holders.get(key) ?? 1) - 1;
          if (left === 0) this.#holders.delete(key);
          else this.#holders.set(key, left);
        }
      },
    };
  }

  /** How many hold `key`. */
  holders(key: string): number {
    return this.#holders.get(key) ?? 0;
  }

  /** Whether somebody holds `key`. */
  has(key: string): boolean {
    return this.#holders.has(key);
  }
}

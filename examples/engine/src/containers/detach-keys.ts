/** The key sequence that lets a client leave a terminal without ending the process. Pure. */
import { invalid } from '../errors.ts';

/** What Docker uses when nobody says otherwise. */
export const DEFAULT_DETACH_KEYS = 'ctrl-p,ctrl-q';

/**
 * The bytes of a sequence such as `ctrl-p,ctrl-q` or `ctrl-a,d`; the default for an empty text.
 *
 * @throws {EngineError} `INVALID` for something that is not a key
 */
export function parseDetachKeys(text: string): Buffer {
  const bytes = (text === '' ? DEFAULT_DETACH_KEYS : text).split(',').map((key) => {
    if (key.length === 1) return key.charCodeAt(0);
    const match = /^ctrl-([a-z@[\\\]^_])$/i.exec(key);
    if (!match) throw invalid(`invalid detach keys (${text}) provided: unknown character: '${key}'`);
    return match[1]!.toUpperCase().charCodeAt(0) - 0x40;
  });
  return Buffer.from(bytes);
}

/** Watches input for the sequence. Keys that might begin it are held back until the next ones tell. */
export class DetachFilter {
  readonly #keys: Buffer;
  #matched = 0;

  constructor(keys: Buffer) {
    this.#keys = keys;
  }

  /** What of `data` goes to the process, and whether the sequence is complete; the rest of `data` is dropped then. */
  push(data: Uint8Array): { data: Uint8Array; detached: boolean } {
    const keys = this.#keys;
    if (keys.length === 0) return { data, detached: false };
    if (this.#matched === 0 && !data.includes(keys[0]!)) return { data, detached: false };
    const out: number[] = [];
    for (const byte of data) {
      if (byte === keys[this.#matched]) {
        this.#matched += 1;
        if (this.#matched === keys.length) {
          this.#matched = 0;
          return { data: Uint8Array.from(out), detached: true };
        }
        continue;
      }
      out.push(...keys.subarray(0, this.#matched));
      this.#matched = byte === keys[0] ? 1 : 0;
      if (this.#matched === 0) out.push(byte);
    }
    return { data: Uint8Array.from(out), detached: false };
  }
}

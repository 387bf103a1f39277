/** Reads the plain files of directories, in the order of their names; the next ones while the last is being used. */
import { fsName } from '../apply/directory-tree.ts';
import type { LayerFs, PlainFile, PlainFileReader } from '../fs.ts';
import type { ByteString } from '../tar/entry.ts';

/** How many names ahead are asked for, and how few may be left before that is done again. */
const MAX_AHEAD = 16;
const MIN_AHEAD = 8;

/** An open directory whose names are gone through. Leave it before its descriptor is closed. */
export interface Listing {
  readonly fd: number;
  readonly names: readonly ByteString[];
  /** Tickets of what was asked for and not taken, by index. */
  readonly tickets: Map<number, number>;
  /** Index of the first name that was not asked for. */
  asked: number;
}

/** Dispose of it always. */
export class PlainFiles implements Disposable {
  readonly #fs: LayerFs;
  readonly #resolve: number;
  /** The content of the last file. */
  readonly #content: Buffer;
  readonly #reader: PlainFileReader | undefined;

  /**
   * @param resolve - for {@link LayerFs.readPlainFile}
   * @param maxBytes - what is larger is not read
   */
  constructor(layerFs: LayerFs, resolve: number, maxBytes: number) {
    this.#fs = layerFs;
    this.#resolve = resolve;
    this.#content = Buffer.allocUnsafeSlow(maxBytes);
    this.#reader = layerFs.plainFileReader?.(maxBytes);
  }

  enter(fd: number, names: readonly ByteString[]): Listing {
    return { fd, names, tickets: new Map(), asked: 0 };
  }

  /**
   * The file of one name, with its content, which is valid until the next call; undefined for what is to be read in the
   * ordinary way. Indexes ascend, and may leave some out.
   */
  read(listing: Listing, index: number): { file: PlainFile; content: Buffer } | undefined {
    if (this.#fs.readPlainFile === undefined) return undefined;
    this.#askAhead(listing, index);
    const ticket = listing.tickets.get(index);
    listing.tickets.delete(index);
    const file =
      ticket === undefined
        ? this.#fs.readPlainFile(listing.fd, fsName(listing.names[index]!), this.#resolve, this.#content)
        : this.#reader!.take(ticket, this.#content);
    return file && { file, content: this.#content.subarray(0, file.size) };
  }

  /** Nothing more of it is wanted. */
  leave({ tickets }: Listing): void {
    for (const ticket of tickets.values()) this.#reader!.take(ticket, this.#content);
    tickets.clear();
  }

  [Symbol.dispose](): void {
    this.#reader?.[Symbol.dispose]();
  }

  #askAhead(listing: Listing, index: number): void {
    const { fd, names, tickets } = listing;
    if (this.#reader === undefined || listing.asked - index > MIN_AHEAD) return;
    // what is wanted now is read here
    let next = Math.max(listing.asked, index + 1);
    for (const end = Math.min(names.length, index + 1 + MAX_AHEAD); next < end; next++) {
      const ticket = this.#reader.ask(fd, fsName(names[next]!), this.#resolve);
      if (ticket === undefined) break;
      tickets.set(next, ticket);
    }
    listing.asked = next;
  }
}

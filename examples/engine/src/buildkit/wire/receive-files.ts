/** Files out of the packets of fsutil's protocol: the receiving side, whatever becomes of the files. */
import { create } from '@bufbuild/protobuf';
import { Code, ConnectError } from '@connectrpc/connect';
import { posix } from 'node:path';

import { PacketSchema, type Packet, type Stat } from '../gen/session_pb.ts';
import { goKind } from './go-mode.ts';
import { Listing } from './listing.ts';
import type { Outbox } from './outbox.ts';
import { PACKET } from './packets.ts';

/** Where received files go. Paths are clean, and below directories that came before. */
export interface FileTarget<T> {
  directory(stat: Stat): void;
  symlink(stat: Stat): void;
  /** @returns what takes the content; undefined when it is known already */
  file(stat: Stat): FileWriter | undefined;
  /** A further name for a file that came before. */
  link(path: string, target: string): void;
  /** There is no more. @param listing - digest of everything that was listed */
  end(listing: string): T;
}

/** Takes the content of one file. */
export interface FileWriter {
  write(data: Uint8Array): void;
  end(): void;
}

/**
 * Takes packets until the other side has sent everything. What it is to be asked goes into `requests`.
 *
 * @param options.name - of what is received, for people
 * @param options.known - what there is when the other side says that nothing has changed
 * @throws {ConnectError} `InvalidArgument` for files that no honest sender has
 */
export async function receiveFiles<T>(
  packets: AsyncIterable<Packet>,
  requests: Outbox<Packet>,
  target: FileTarget<T>,
  options: {
    name: string;
    known?: T | undefined;
    onProgress?: ((bytes: number) => void) | undefined;
  },
): Promise<T> {
  const receiver = new Receiver(target, requests, options);
  try {
    for await (const packet of packets) receiver.take(packet);
  } finally {
    requests.end();
  }
  return receiver.finish(options.name);
}

class Receiver<T> {
  readonly #target: FileTarget<T>;
  readonly #requests: Outbox<Packet>;
  readonly #onProgress: ((bytes: number) => void) | undefined;
  readonly #known: T | undefined;
  readonly #listing = new Listing();
  /** Of entries that were listed. */
  readonly #directories = new Set<string>(['']);
  readonly #files = new Set<string>();
  readonly #others = new Set<string>();
  readonly #pending = new Map<number, FileWriter>();
  readonly #links: Stat[] = [];
  #count = 0;
  #bytes = 0;
  #listed = false;
  #unchanged = false;
  #ended = false;

  constructor(
    target: FileTarget<T>,
    requests: Outbox<Packet>,
    { known, onProgress }: { known?: T | undefined; onProgress?: ((bytes: number) => void) | undefined },
  ) {
    this.#target = target;
    this.#requests = requests;
    this.#onProgress = onProgress;
    this.#known = known;
  }

  take(packet: Packet): void {
    switch (packet.type) {
      case PACKET.stat:
        if (packet.stat) this.#list(packet.stat);
        else this.#listed = true;
        break;
      case PACKET.data:
        this.#write(packet);
        break;
      case PACKET.error:
        throw new ConnectError(Buffer.from(packet.data).toString('utf8'), Code.Unknown);
      case PACKET.unchanged:
        if (this.#known === undefined || this.#count > 0) throw dishonest('nothing new of what is not here');
        this.#unchanged = true;
        this.#ended = true;
        this.#requests.end();
        return;
      case PACKET.end:
        this.#ended = true;
        this.#requests.end();
        return;
      default:
        throw dishonest(`a packet of type ${packet.type}`);
    }
    if (this.#listed && this.#pending.size === 0 && !this.#ended) {
      this.#requests.push(create(PacketSchema, { type: PACKET.end }));
      this.#listed = false;
    }
  }

  /** Does what had to wait for the rest. */
  finish(name: string): T {
    if (!this.#ended) throw new ConnectError(`the client stopped sending ${name}`, Code.Aborted);
    if (this.#unchanged && this.#known !== undefined) return this.#known;
    for (const { path, linkname } of this.#links) {
      if (!this.#files.has(linkname)) throw dishonest(`${path} links to ${linkname}, which is not there`);
      this.#target.link(path, linkname);
      this.#files.add(path);
    }
    return this.#target.end(this.#listing.digest());
  }

  /** An entry is where a directory was listed before: so no link is ever followed. */
  #list(stat: Stat): void {
    const id = this.#count;
    this.#count += 1;
    this.#listing.add(stat);
    const { path } = stat;
    if (posix.normalize(path) !== path || path === '.' || path.startsWith('/') || path.startsWith('../')) {
      throw dishonest(`the path ${JSON.stringify(path)}`);
    }
    const isListed = this.#directories.has(path) || this.#files.has(path) || this.#others.has(path);
    if (isListed || !this.#directories.has(path.slice(0, Math.max(0, path.lastIndexOf('/'))))) {
      throw dishonest(`${JSON.stringify(path)}, which is listed twice or below no directory`);
    }
    switch (goKind(stat.mode)) {
      case 'directory':
        this.#directories.add(path);
        this.#target.directory(stat);
        return;
      case 'symlink':
        this.#others.add(path);
        this.#target.symlink(stat);
        return;
      case 'file':
        if (stat.linkname === '') this.#listFile(id, stat);
        else {
          this.#others.add(path);
          this.#links.push(stat);
        }
        return;
      default:
        throw new ConnectError(
          `${path} is a device, a socket or a pipe: exclude it in .dockerignore`,
          Code.InvalidArgument,
        );
    }
  }

  #listFile(id: number, stat: Stat): void {
    this.#files.add(stat.path);
    const writer = this.#target.file(stat);
    if (writer === undefined) return;
    this.#pending.set(id, writer);
    this.#requests.push(create(PacketSchema, { type: PACKET.request, id }));
  }

  #write({ id, data }: Packet): void {
    const writer = this.#pending.get(id);
    if (!writer) throw dishonest(`data that nobody asked for (${id})`);
    if (data.length === 0) {
      this.#pending.delete(id);
      writer.end();
      return;
    }
    writer.write(data);
    this.#bytes += data.length;
    this.#onProgress?.(this.#bytes);
  }
}

function dishonest(what: string): ConnectError {
  return new ConnectError(`the client sent ${what}`, Code.InvalidArgument);
}

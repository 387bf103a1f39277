/** Files out of the packets of fsutil's protocol, into a directory: the receiving side. */
import { create } from '@bufbuild/protobuf';
import { Code, ConnectError } from '@connectrpc/connect';
import { chmodSync, closeSync, fchmodSync, futimesSync, linkSync, mkdirSync, openSync } from 'node:fs';
import { lutimesSync, symlinkSync, utimesSync, writeSync } from 'node:fs';
import { join, posix } from 'node:path';

import { PacketSchema, type Packet, type Stat } from '../gen/session_pb.ts';
import { goKind, goPermissions } from './go-mode.ts';
import type { Outbox } from './outbox.ts';
import { PACKET } from './packets.ts';

/** Where received files go. */
export interface ReceiveOptions {
  /** Empty, and of nobody else. */
  directory: string;
  onProgress?: (bytes: number) => void;
}

/**
 * Takes packets until the other side has sent everything. What it is to be asked goes into `requests`.
 *
 * @throws {ConnectError} `InvalidArgument` for files that no honest sender has
 */
export async function receiveFiles(
  packets: AsyncIterable<Packet>,
  requests: Outbox<Packet>,
  { name, ...options }: ReceiveOptions & { name: string },
): Promise<void> {
  using receiver = new Receiver(options, requests);
  try {
    for await (const packet of packets) receiver.take(packet);
  } finally {
    requests.end();
  }
  receiver.finish(name);
}

interface Open {
  fd: number;
  stat: Stat;
}

class Receiver implements Disposable {
  readonly #options: ReceiveOptions;
  readonly #requests: Outbox<Packet>;
  /** Of entries that were listed; the key of a directory is its path. */
  readonly #directories = new Map<string, Stat | undefined>([['', undefined]]);
  readonly #names = new Set<string>();
  readonly #pending = new Map<number, Stat>();
  readonly #open = new Map<number, Open>();
  readonly #links: Stat[] = [];
  #count = 0;
  #bytes = 0;
  #listed = false;
  #ended = false;

  constructor(options: ReceiveOptions, requests: Outbox<Packet>) {
    this.#options = options;
    this.#requests = requests;
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
  finish(name: string): void {
    if (!this.#ended) throw new ConnectError(`the client stopped sending ${name}`, Code.Aborted);
    for (const { path, linkname } of this.#links) {
      if (!this.#names.has(linkname)) throw dishonest(`${path} links to ${linkname}, which is not there`);
      linkSync(this.#path(linkname), this.#path(path));
    }
    // after everything in them
    for (const [path, stat] of [...this.#directories].reverse()) {
      if (!stat) continue;
      chmodSync(this.#path(path), goPermissions(stat.mode));
      const time = seconds(stat);
      utimesSync(this.#path(path), time, time);
    }
  }

  [Symbol.dispose](): void {
    for (const { fd } of this.#open.values()) closeSync(fd);
    this.#open.clear();
  }

  #path(name: string): string {
    return join(this.#options.directory, name);
  }

  /** An entry is where a directory was listed before: so no link is ever followed. */
  #list(stat: Stat): void {
    const id = this.#count;
    this.#count += 1;
    const { path } = stat;
    const parent = posix.dirname(path);
    if (posix.normalize(path) !== path || path === '.' || path.startsWith('/') || path.startsWith('../')) {
      throw dishonest(`the path ${JSON.stringify(path)}`);
    }
    if (!this.#directories.has(parent === '.' ? '' : parent) || this.#names.has(path)) {
      throw dishonest(`${JSON.stringify(path)}, which is listed twice or below no directory`);
    }
    this.#names.add(path);
    const time = seconds(stat);
    switch (goKind(stat.mode)) {
      case 'directory':
        mkdirSync(this.#path(path), 0o700);
        this.#directories.set(path, stat);
        return;
      case 'symlink':
        symlinkSync(stat.linkname, this.#path(path));
        lutimesSync(this.#path(path), time, time);
        return;
      case 'file':
        if (stat.linkname !== '') this.#links.push(stat);
        else {
          this.#pending.set(id, stat);
          this.#requests.push(create(PacketSchema, { type: PACKET.request, id }));
        }
        return;
      default:
        throw new ConnectError(
          `${path} is a device, a socket or a pipe: exclude it in .dockerignore`,
          Code.InvalidArgument,
        );
    }
  }

  #write({ id, data }: Packet): void {
    const stat = this.#pending.get(id);
    if (!stat) throw dishonest(`data that nobody asked for (${id})`);
    let open = this.#open.get(id);
    if (!open) {
      open = { fd: openSync(this.#path(stat.path), 'wx', 0o600), stat };
      this.#open.set(id, open);
    }
    if (data.length > 0) {
      let written = 0;
      while (written < data.length) written += writeSync(open.fd, data, written);
      this.#bytes += data.length;
      this.#options.onProgress?.(this.#bytes);
      return;
    }
    const time = seconds(stat);
    fchmodSync(open.fd, goPermissions(stat.mode));
    futimesSync(open.fd, time, time);
    this.#open.delete(id);
    closeSync(open.fd);
    this.#pending.delete(id);
  }
}

function seconds({ modTime }: Stat): number {
  return Number(modTime) / 1e9;
}

function dishonest(what: string): ConnectError {
  return new ConnectError(`the client sent ${what}`, Code.InvalidArgument);
}

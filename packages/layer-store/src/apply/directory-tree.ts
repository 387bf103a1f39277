/**
 * A directory whose inside is reached only by descriptors: hostile names and symbolic links cannot lead out of it.
 *
 * Paths are walked component by component, each opened with O_NOFOLLOW below the descriptor before it. A symbolic link
 * in the middle is resolved here, by name, with the tree's root as `/`, as chroot(2) would: the kernel never follows
 * one for us. Since no step names two components that could be swapped in between, a second process cannot race it.
 */
import * as fs from 'node:fs';
import { LayerStoreError, systemCode } from '../errors.ts';
import { RESOLVE, type LayerFs } from '../fs.ts';
import { inDirectory, O_PATH } from '../node-fs.ts';
import { printable, type ByteString } from '../tar/entry.ts';

const { O_DIRECTORY, O_NOFOLLOW, O_RDONLY } = fs.constants;

/** An open directory of the tree. */
export interface Directory {
  /** An O_PATH descriptor, owned by the tree. */
  fd: number;
  /** Path below the root without symbolic links; `''` is the root. */
  path: ByteString;
}

/** Descriptors kept open. Layers are written in directory order, so a few would do. */
const MAX_OPEN = 128;

/** As many symbolic links in one path as Linux follows. */
const MAX_LINKS = 40;

/** Tells the owner of a tree what {@link DirectoryTree.open} does. */
export interface TreeOwner {
  /** It looks at what is there, one component after the other. */
  walk(): void;
  /** `path` was made as a parent; `replacedWhiteout` when a whiteout stood there. */
  implied(path: ByteString, replacedWhiteout: boolean): void;
}

/** A tree below one directory. Dispose of it to close its descriptors. */
export class DirectoryTree implements Disposable {
  readonly root: Directory;
  readonly #fs: LayerFs;
  readonly #owner: TreeOwner | undefined;
  /** By the path it was asked for, least recently used first. */
  readonly #open = new Map<ByteString, Directory>();
  /** No longer cached, but perhaps still in the hands of the caller. */
  #retired: number[] = [];

  constructor(layerFs: LayerFs, root: string, owner?: TreeOwner) {
    this.#fs = layerFs;
    this.#owner = owner;
    this.root = { fd: fs.openSync(root, O_RDONLY | O_DIRECTORY | O_NOFOLLOW), path: '' };
  }

  /**
   * Opens the directory at `components`. It stays open until {@link DirectoryTree.release} at the earliest.
   *
   * @param create make what is missing, mode 0700
   * @throws {LayerStoreError} `NOT_FOUND`, or `INVALID_TAR` when the path runs through something else than a directory
   */
  open(components: readonly ByteString[], create: boolean): Directory {
    if (components.length === 0) return this.root;
    const key = components.join('/');
    const cached = this.#open.get(key);
    if (cached !== undefined) {
      this.#open.delete(key);
      this.#open.set(key, cached);
      return cached;
    }
    const directory = this.#openWithoutLinks(key) ?? this.#walk(components, create);
    this.#open.set(key, directory);
    if (this.#open.size > MAX_OPEN) {
      const [oldest, { fd }] = this.#open.entries().next().value!;
      this.#open.delete(oldest);
      this.#retired.push(fd);
    }
    return directory;
  }

  /** Closes descriptors that are no longer cached. The caller holds no {@link Directory} but those it opens from now on. */
  release(): void {
    for (const fd of this.#retired) fs.closeSync(fd);
    this.#retired = [];
  }

  /** Forgets every path: a directory or symbolic link was removed, so a cached one may no longer be what its path says. */
  forget(): void {
    for (const { fd } of this.#open.values()) this.#retired.push(fd);
    this.#open.clear();
  }

  /** lstat(2), or undefined when there is nothing. */
  stat(directory: Directory, name: ByteString): fs.Stats | undefined {
    return fs.lstatSync(inDirectory(directory.fd, fsName(name)), { throwIfNoEntry: false });
  }

  /** readlink(2). */
  readLink(directory: Directory, name: ByteString): ByteString {
    return fs.readlinkSync(inDirectory(directory.fd, fsName(name)), { encoding: 'latin1' });
  }

  /** The names in a directory, in no particular order. */
  names(directory: Directory): ByteString[] {
    return fs.readdirSync(`/proc/self/fd/${directory.fd}`, { encoding: 'latin1' });
  }

  /** Removes `name` and all below it, without following anything. Returns what it was, or undefined for nothing. */
  remove(directory: Directory, name: ByteString): fs.Stats | undefined {
    const stat = this.stat(directory, name);
    if (stat === undefined) return undefined;
    if (stat.isDirectory() || stat.isSymbolicLink()) this.forget();
    if (stat.isDirectory()) {
      const inner = this.openChild(directory, name);
      try {
        for (const child of this.names(inner)) this.remove(inner, child);
      } finally {
        fs.closeSync(inner.fd);
      }
    }
    this.#fs.unlinkat(directory.fd, fsName(name), stat.isDirectory());
    return stat;
  }

  /** Opens a directory right below another, never through a link. The caller closes `fd`. */
  openChild(directory: Directory, name: ByteString): Directory {
    const fd = this.#fs.openat2(directory.fd, fsName(name), {
      flags: O_PATH | O_DIRECTORY | O_NOFOLLOW,
      resolve: RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS,
    });
    return { fd, path: join(directory.path, name) };
  }

  [Symbol.dispose](): void {
    this.forget();
    this.release();
    fs.closeSync(this.root.fd);
  }

  /** The usual case in one call: every component is there and none is a link. */
  #openWithoutLinks(path: ByteString): Directory | undefined {
    try {
      const fd = this.#fs.openat2(this.root.fd, fsName(path), {
        flags: O_PATH | O_DIRECTORY | O_NOFOLLOW,
        resolve: RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS,
      });
      return { fd, path };
    } catch (error) {
      const code = systemCode(error);
      if (code === 'ENOENT' || code === 'ELOOP' || code === 'ENOTDIR') return undefined;
      throw error;
    }
  }

  #walk(components: readonly ByteString[], create: boolean): Directory {
    this.#owner?.walk();
    const stack: Directory[] = [];
    const current = (): Directory => stack.at(-1) ?? this.root;
    const leave = (): void => {
      const left = stack.pop();
      if (left !== undefined) fs.closeSync(left.fd);
    };
    const queue = [...components];
    let links = 0;
    try {
      while (queue.length > 0) {
        const name = queue.shift()!;
        if (name === '' || name === '.') continue;
        if (name === '..') {
          leave();
          continue;
        }
        const directory = current();
        const stat = this.stat(directory, name);
        if (stat === undefined || (create && isWhiteout(stat))) {
          if (!create) throw notFound(join(directory.path, name));
          this.#imply(directory, name, stat !== undefined);
        } else if (stat.isSymbolicLink()) {
          links += 1;
          if (links > MAX_LINKS) {
            throw new LayerStoreError(
              'INVALID_TAR',
              `too many symbolic links on the way to ${printable(components.join('/'))}`,
            );
          }
          const target = this.readLink(directory, name);
          if (target.startsWith('/')) while (stack.length > 0) leave();
          queue.unshift(...target.split('/'));
          continue;
        } else if (!stat.isDirectory()) {
          throw new LayerStoreError(
            'INVALID_TAR',
            `${printable(join(directory.path, name))} is not a directory, yet something should be inside it`,
          );
        }
        stack.push(this.openChild(directory, name));
      }
      const found = stack.pop();
      // a link to the root: the caller gets a descriptor of its own, to be closed like any other
      return found ?? { fd: fs.openSync(`/proc/self/fd/${this.root.fd}/.`, O_PATH | O_DIRECTORY), path: '' };
    } finally {
      while (stack.length > 0) leave();
    }
  }

  #imply(directory: Directory, name: ByteString, replacedWhiteout: boolean): void {
    if (replacedWhiteout) this.#fs.unlinkat(directory.fd, fsName(name), false);
    this.#fs.mkdirat(directory.fd, fsName(name), 0o700);
    this.#owner?.implied(join(directory.path, name), replacedWhiteout);
  }
}

/** Whether this is how the overlay file system marks a removed file: a character device 0:0. */
export function isWhiteout(stat: fs.Stats): boolean {
  return stat.isCharacterDevice() && stat.rdev === 0;
}

/** A name as the file system wants it: text when it is ASCII, which is nearly always and faster, else the bytes. */
export function fsName(name: ByteString): string | Buffer {
  return /[^\0-\x7f]/.test(name) ? Buffer.from(name, 'latin1') : name;
}

/** `name` inside `path`. */
export function join(path: ByteString, name: ByteString): ByteString {
  return path === '' ? name : `${path}/${name}`;
}

function notFound(path: ByteString): LayerStoreError {
  return new LayerStoreError('NOT_FOUND', `${printable(path)} is not there`);
}

/**
 * One archive of what layers make together, by reading their archives alone: no disk, no privilege, any system.
 *
 * Every layer is read twice. The first time its names are laid over those of the layers below, by the rules of unpacking
 * (whiteouts, opaque directories, links followed inside the root); the second time the content of the files that are left
 * is passed on.
 */
import type { ContentOptions } from '@tare/image-spec/content';
import { LayerStoreError } from '../errors.ts';
import { printable, type ByteString, type TarEntry } from '../tar/entry.ts';
import { parseEntryPath } from '../tar/entry-path.ts';
import { tarMembers } from '../tar/members.ts';
import { parseWhiteout } from '../tar/whiteout.ts';
import { encodeTarHeader, TAR_END, tarEntry, tarPadding } from '../tar/write.ts';

/** Opens the archive of a layer (plain, gzip or zstd); called twice. */
export type OpenLayer = () => Promise<AsyncIterable<Uint8Array>>;

/** Of one file that several names may share: where its content is, and whether it was written. */
interface Inode {
  entry: TarEntry;
  layer: number;
  paths: ByteString[];
}

/** A name of the tree. */
interface Node {
  inode: Inode;
  /** Of a directory, what is in it. */
  children: Map<ByteString, Node> | undefined;
  /** The layer that put it here. */
  layer: number;
}

/** As the kernel follows. */
const MAX_LINKS = 40;

/**
 * The archive of the file system that `layers` make, oldest first: directories and links before files, each name once,
 * without whiteouts.
 *
 * @throws {LayerStoreError} `INVALID_TAR`, `UNSAFE_ENTRY`: a hard link to what is not there
 */
export async function* flattenLayers(
  layers: readonly OpenLayer[],
  options: ContentOptions = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const tree = new Tree();
  /** By layer, the files in it by their place in the archive. */
  const files: Map<number, Inode>[] = [];
  for (const [layer, open] of layers.entries()) {
    const found = new Map<number, Inode>();
    files.push(found);
    let place = 0;
    for await (const { entry } of tarMembers(await open())) {
      options.signal?.throwIfAborted();
      const inode = tree.add(entry, layer);
      if (inode?.entry.type === 'file' && inode.entry === entry) found.set(place, inode);
      place += 1;
    }
  }
  yield* tree.withoutFiles();
  for (const [layer, open] of layers.entries()) {
    const wanted = files[layer]!;
    let place = -1;
    let left = [...wanted.values()].filter(({ paths }) => paths.length > 0).length;
    if (left === 0) continue;
    for await (const { content } of tarMembers(await open())) {
      options.signal?.throwIfAborted();
      place += 1;
      const inode = wanted.get(place);
      const [first, ...others] = inode?.paths ?? [];
      if (inode === undefined || first === undefined) continue;
      yield encodeTarHeader({ ...inode.entry, name: first });
      yield* content;
      yield tarPadding(inode.entry.size);
      for (const name of others) {
        yield encodeTarHeader({ ...inode.entry, type: 'hardlink', name, linkName: first, size: 0 });
      }
      if ((left -= 1) === 0) break;
    }
  }
  yield TAR_END;
}

class Tree {
  readonly #root: Node;

  constructor() {
    this.#root = directory(tarEntry('directory', './'), -1);
  }

  /** Lays one member over what is there. Returns its inode; undefined for what leaves none. */
  add(entry: TarEntry, layer: number): Inode | undefined {
    const path = parseEntryPath(entry.name);
    const name = path.at(-1);
    if (name === undefined) {
      if (entry.type === 'directory') this.#root.inode.entry = entry;
      return undefined;
    }
    const whiteout = parseWhiteout(name);
    if (whiteout?.kind === 'ignored') return undefined;
    const parent = this.#directoryAt(path.slice(0, -1), layer, whiteout === undefined);
    if (parent === undefined) return undefined;
    if (whiteout !== undefined) {
      if (whiteout.kind === 'opaque') hideBelow(parent, layer);
      else {
        const hidden = parent.children!.get(whiteout.name);
        // a layer's whiteouts are about the layers below, wherever they stand in its archive
        if (hidden !== undefined && hidden.layer < layer) parent.children!.delete(whiteout.name);
        else if (hidden !== undefined) hideBelow(hidden, layer);
      }
      return undefined;
    }
    const before = parent.children!.get(name);
    if (entry.type === 'directory' && before?.children !== undefined) {
      before.inode = { entry, layer, paths: [] };
      before.layer = layer;
      return before.inode;
    }
    const inode = entry.type === 'hardlink' ? this.#linked(entry) : { entry, layer, paths: [] };
    const children = entry.type === 'directory' ? new Map<ByteString, Node>() : undefined;
    parent.children!.set(name, { inode, children, layer });
    return inode;
  }

  /** Notes for every inode the names that are left of it, and gives the archive of all that have no content. */
  *withoutFiles(): Generator<Uint8Array, void, undefined> {
    const { entry } = this.#root.inode;
    yield encodeTarHeader({ ...entry, name: './' });
    yield* this.#list(this.#root, '');
  }

  *#list(node: Node, prefix: ByteString): Generator<Uint8Array, void, undefined> {
    for (const [name, child] of node.children!) {
      const path = prefix + name;
      const { entry, paths } = child.inode;
      paths.push(path);
      if (child.children !== undefined) {
        yield encodeTarHeader({ ...entry, name: `${path}/` });
        yield* this.#list(child, `${path}/`);
      } else if (entry.type !== 'file') {
        const again = paths.length > 1 && ({ type: 'hardlink', linkName: paths[0]! } as const);
        yield encodeTarHeader({ ...entry, name: path, ...again });
      }
    }
  }

  #linked(entry: TarEntry): Inode {
    const path = parseEntryPath(entry.linkName);
    const parent = this.#directoryAt(path.slice(0, -1), 0, false);
    const target = parent?.children!.get(path.at(-1) ?? '');
    if (target !== undefined && target.children === undefined) return target.inode;
    throw new LayerStoreError(
      'UNSAFE_ENTRY',
      `${printable(entry.name)} is a hard link to ${printable(entry.linkName)}, which is no file there`,
      { entry: entry.name },
    );
  }

  /** The directory at `path`, links to directories followed inside the root; made where it is missing, if wanted. */
  #directoryAt(path: readonly ByteString[], layer: number, make: boolean): Node | undefined {
    let links = 0;
    const at: Node[] = [this.#root];
    const left = [...path];
    for (let name = left.shift(); name !== undefined; name = left.shift()) {
      if (name === '' || name === '.') continue;
      if (name === '..') {
        if (at.length > 1) at.pop();
        continue;
      }
      const here = at.at(-1)!;
      const child = here.children!.get(name);
      if (child?.children !== undefined) {
        at.push(child);
      } else if (child?.inode.entry.type === 'symlink' && (links += 1) <= MAX_LINKS) {
        const { linkName } = child.inode.entry;
        if (linkName.startsWith('/')) at.length = 1;
        left.unshift(...linkName.split('/'));
      } else if (make) {
        // implied by what is in it; it takes the place of anything else
        const made = directory(tarEntry('directory', ''), layer);
        here.children!.set(name, made);
        at.push(made);
      } else return undefined;
    }
    return at.at(-1);
  }
}

function directory(entry: TarEntry, layer: number): Node {
  return { inode: { entry, layer, paths: [] }, children: new Map(), layer };
}

/** Takes away everything in a directory that older layers put there. */
function hideBelow(node: Node, layer: number): void {
  for (const [name, child] of node.children ?? []) {
    if (child.layer < layer) node.children!.delete(name);
    else hideBelow(child, layer);
  }
}

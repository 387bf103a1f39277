/** Looks things up in a stack of overlay layers, as the kernel would if they were mounted. */
import * as fs from 'node:fs';
import { statAt, xattrsOf, type Place } from '../apply/copy-node.ts';
import { DirectoryTree, fsName, isWhiteout, type Directory } from '../apply/directory-tree.ts';
import { systemCode } from '../errors.ts';
import type { LayerFs } from '../fs.ts';
import { inDirectory } from '../node-fs.ts';
import type { ByteString } from '../tar/entry.ts';

/** What a stack of layers has at a path. */
export type LowerEntry =
  | { kind: 'missing' }
  /** Only the topmost one decides how a directory looks. */
  | { kind: 'directory'; stat: fs.BigIntStats; xattrs: ReadonlyMap<string, Uint8Array> }
  | { kind: 'symlink'; target: ByteString }
  | { kind: 'other' };

/** One of the directories that show through in one place. */
interface Merged {
  tree: DirectoryTree;
  directory: Directory;
}

/** The layers below a new one, topmost first. Dispose of it to close its descriptors. */
export class LowerStack implements Disposable {
  readonly #fs: LayerFs;
  readonly #opaque: string;
  readonly #trees: DirectoryTree[] = [];

  /** @param overlayXattrs - name space of the opaque mark */
  constructor(layerFs: LayerFs, directories: readonly string[], overlayXattrs: 'trusted' | 'user') {
    this.#fs = layerFs;
    this.#opaque = `${overlayXattrs}.overlay.opaque`;
    try {
      for (const directory of directories) this.#trees.push(new DirectoryTree(layerFs, directory));
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  /** What is at `components`. Symbolic links on the way are not followed: behind one, everything is missing. */
  lookup(components: readonly ByteString[]): LowerEntry {
    return this.#walk(components, (entry) => entry);
  }

  /** The names in the directory at `components`, sorted; none when there is no directory. */
  names(components: readonly ByteString[]): ByteString[] {
    return this.#walk(components, (entry, level) => {
      const visible = new Map<ByteString, boolean>();
      if (entry.kind !== 'directory') return [];
      for (const { tree, directory } of level) {
        for (const name of tree.names(directory)) {
          const stat = visible.has(name) ? undefined : tree.stat(directory, name);
          if (stat !== undefined) visible.set(name, !isWhiteout(stat));
        }
      }
      return [...visible].flatMap(([name, shown]) => (shown ? [name] : [])).sort();
    });
  }

  /** Calls `use` with what is at `components` when that is no directory. */
  withNode<T>(components: readonly ByteString[], use: (at: Place, stat: fs.BigIntStats) => T): T | undefined {
    return this.#walk(components, (_entry, _level, node) => {
      const stat = node && statAt(node);
      return stat === undefined ? undefined : use(node!, stat);
    });
  }

  /** Goes to `components`; `use` gets what is there, and the directories merged there, topmost first. */
  #walk<T>(
    components: readonly ByteString[],
    use: (entry: LowerEntry, level: readonly Merged[], node?: Place) => T,
  ): T {
    let level: Merged[] = this.#trees.map((tree) => ({ tree, directory: tree.root }));
    const opened: number[] = [];
    try {
      if (level.length === 0) return use({ kind: 'missing' }, level);
      let entry: LowerEntry = this.#describe(level[0]!.directory, '.');
      let node: Place | undefined;
      for (const name of components) {
        if (entry.kind !== 'directory') return use({ kind: 'missing' }, []);
        const next: Merged[] = [];
        entry = { kind: 'missing' };
        for (const { tree, directory } of level) {
          const stat = tree.stat(directory, name);
          if (stat === undefined) continue;
          if (!stat.isDirectory()) {
            // below a directory it is hidden, at the top it is what there is
            if (next.length > 0 || isWhiteout(stat)) break;
            entry = this.#leaf(tree, directory, name, stat);
            node = { directory, name };
            break;
          }
          if (next.length === 0) entry = this.#describe(directory, name);
          const child = tree.openChild(directory, name);
          opened.push(child.fd);
          next.push({ tree, directory: child });
          if (this.isOpaque(directory, name)) break;
        }
        level = next;
      }
      return use(entry, level, node);
    } finally {
      for (const fd of opened) fs.closeSync(fd);
    }
  }

  /** Whether a directory hides those of the layers below it. Nothing that is not there is opaque. */
  isOpaque(parent: Directory, name: ByteString): boolean {
    try {
      const value = this.#fs.getxattrat(parent.fd, fsName(name), this.#opaque);
      return value !== undefined && Buffer.from(value).toString('latin1') === 'y';
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return false;
      throw error;
    }
  }

  [Symbol.dispose](): void {
    for (const tree of this.#trees) tree[Symbol.dispose]();
  }

  #leaf(tree: DirectoryTree, directory: Directory, name: ByteString, stat: fs.Stats): LowerEntry {
    if (!stat.isSymbolicLink()) return { kind: 'other' };
    return { kind: 'symlink', target: tree.readLink(directory, name) };
  }

  #describe(directory: Directory, name: ByteString): LowerEntry {
    const xattrs = xattrsOf(this.#fs, { directory, name });
    const stat = fs.lstatSync(inDirectory(directory.fd, fsName(name)), { bigint: true });
    return { kind: 'directory', stat, xattrs };
  }
}

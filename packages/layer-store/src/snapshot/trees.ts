/** Whole directory trees: copied, merged with a layer that is in overlay's form, compared. */
import * as fs from 'node:fs';
import { copyMetadata, copyNode, statAt, xattrsOf } from '../apply/copy-node.ts';
import { DirectoryTree, fsName, isWhiteout, join, type Directory } from '../apply/directory-tree.ts';
import type { LayerFs } from '../fs.ts';
import { inDirectory } from '../node-fs.ts';
import type { ByteString } from '../tar/entry.ts';
import type { Change } from './changes.ts';

/** Copies what is in the directory `from`, and how it looks, into the empty directory `to`; hard links stay such. */
export function copyTree(layerFs: LayerFs, from: string, to: string): void {
  using source = new DirectoryTree(layerFs, from);
  using target = new DirectoryTree(layerFs, to);
  /** Inodes with several names: the first copy of each, held open. */
  const copies = new Map<bigint, { directory: Directory; name: ByteString }>();
  using held = new DisposableStack();
  copyInside(source.root, target.root);

  function copyInside(sourceDirectory: Directory, targetDirectory: Directory): void {
    for (const name of source.names(sourceDirectory)) {
      const [at, place] = [
        { directory: sourceDirectory, name },
        { directory: targetDirectory, name },
      ];
      const stat = statAt(at);
      if (stat === undefined) continue;
      const first = stat.isDirectory() ? undefined : copies.get(stat.ino);
      if (first !== undefined) {
        layerFs.linkat(first.directory.fd, fsName(first.name), targetDirectory.fd, fsName(name));
        continue;
      }
      if (!copyNode(layerFs, at, place, stat)) continue;
      if (stat.isDirectory()) {
        using stack = new DisposableStack();
        const inner = stack.adopt(source.openChild(sourceDirectory, name), close);
        copyInside(inner, stack.adopt(target.openChild(targetDirectory, name), close));
      } else if (stat.nlink > 1n) {
        // the caller closes its own when it leaves the directory
        const fd = fs.openSync(`/proc/self/fd/${targetDirectory.fd}/.`, fs.constants.O_DIRECTORY);
        copies.set(stat.ino, { directory: held.adopt({ fd, path: targetDirectory.path }, close), name });
      }
    }
    // what is written inside changes the time
    const [at, place] = [
      { directory: sourceDirectory, name: '.' },
      { directory: targetDirectory, name: '.' },
    ];
    copyMetadata(layerFs, at, place, statAt(at)!);
  }
}

/** Moves the layer in `layer` (overlay's form, used up by it) onto the tree in `onto`. */
export function mergeLayer(
  layerFs: LayerFs,
  layer: string,
  onto: string,
  overlayXattrs: 'trusted' | 'user',
): void {
  using source = new DirectoryTree(layerFs, layer);
  using target = new DirectoryTree(layerFs, onto);
  const opaque = `${overlayXattrs}.overlay.opaque`;
  merge(source.root, target.root);

  function merge(from: Directory, to: Directory): void {
    const here = { directory: from, name: '.' };
    // before its content moves away, which changes its times
    const looks = statAt(here)!;
    for (const name of source.names(from)) {
      const at = { directory: from, name };
      const stat = source.stat(from, name)!;
      if (!stat.isDirectory()) {
        target.remove(to, name);
        if (isWhiteout(stat)) continue;
        fs.renameSync(inDirectory(from.fd, fsName(name)), inDirectory(to.fd, fsName(name)));
        continue;
      }
      const hides = layerFs.getxattrat(from.fd, fsName(name), opaque) !== undefined;
      const there = target.stat(to, name);
      if (there !== undefined && (hides || !there.isDirectory())) target.remove(to, name);
      if (there?.isDirectory() !== true || hides) layerFs.mkdirat(to.fd, fsName(name), 0o700);
      using stack = new DisposableStack();
      const inner = stack.adopt(source.openChild(from, name), close);
      merge(inner, stack.adopt(target.openChild(to, name), close));
      clearXattrs(to, name, at);
    }
    copyMetadata(layerFs, here, { directory: to, name: '.' }, looks);
  }

  /** A directory of the layer has its own attributes, not also those of the one below. */
  function clearXattrs(
    to: Directory,
    name: ByteString,
    at: { directory: Directory; name: ByteString },
  ): void {
    const own = xattrsOf(layerFs, at);
    for (const attribute of xattrsOf(layerFs, { directory: to, name }).keys()) {
      if (!own.has(attribute)) layerFs.removexattrat?.(to.fd, fsName(name), attribute);
    }
  }
}

/**
 * What the tree in `upper` changes in the one in `lower` (undefined: in nothing), as
 * {@link "snapshotter".Snapshotter.changes}. Files with the same metadata and times are taken for the same.
 */
export function* treeChanges(
  layerFs: LayerFs,
  upper: string,
  lower: string | undefined,
): Generator<Change, void, undefined> {
  using top = new DirectoryTree(layerFs, upper);
  using stack = new DisposableStack();
  const below = lower === undefined ? undefined : stack.use(new DirectoryTree(layerFs, lower));
  yield* inside(top.root, below?.root);

  function* inside(
    directory: Directory,
    other: Directory | undefined,
  ): Generator<Change, boolean, undefined> {
    const names = new Set([...top.names(directory), ...(other && below ? below.names(other) : [])]);
    let changed = false;
    for (const name of [...names].sort()) {
      const at = { directory, name };
      const under = other && { directory: other, name };
      const stat = statAt(at);
      const before = under && statAt(under);
      const path = join(directory.path, name);
      if (stat === undefined) {
        if (before !== undefined) yield { kind: 'delete', path };
        changed ||= before !== undefined;
        continue;
      }
      if (!stat.isDirectory()) {
        if (before !== undefined && !differ(layerFs, at, stat, under!, before)) continue;
        yield { kind: before === undefined ? 'add' : 'modify', path };
        changed = true;
        continue;
      }
      using opened = new DisposableStack();
      const inner = opened.adopt(top.openChild(directory, name), close);
      const otherInner =
        before?.isDirectory() === true ? opened.adopt(below!.openChild(other!, name), close) : undefined;
      const changes = inside(inner, otherInner);
      const first = changes.next();
      if (before === undefined) yield { kind: 'add', path };
      else if (first.done !== true || differ(layerFs, at, stat, under!, before))
        yield { kind: 'modify', path };
      else continue;
      changed = true;
      if (first.done !== true) yield first.value;
      yield* changes;
    }
    return changed;
  }
}

interface Place {
  directory: Directory;
  name: ByteString;
}

function differ(
  layerFs: LayerFs,
  at: Place,
  stat: fs.BigIntStats,
  under: Place,
  before: fs.BigIntStats,
): boolean {
  const fields = ['mode', 'uid', 'gid', 'rdev', 'mtimeNs'] as const;
  if (fields.some((field) => stat[field] !== before[field])) return true;
  if (!stat.isDirectory() && stat.size !== before.size) return true;
  if (stat.isSymbolicLink() && target(at) !== target(under)) return true;
  const [own, others] = [xattrsOf(layerFs, at), xattrsOf(layerFs, under)];
  if (own.size !== others.size) return true;
  return [...own].some(([key, value]) => {
    const other = others.get(key);
    return other === undefined || Buffer.compare(value, other) !== 0;
  });
}

function target({ directory, name }: Place): ByteString {
  return fs.readlinkSync(inDirectory(directory.fd, fsName(name)), { encoding: 'latin1' });
}

function close({ fd }: Directory): void {
  fs.closeSync(fd);
}

/** What a layer in the on-disk form of overlay changes in those below it. */
import * as fs from 'node:fs';
import { DirectoryTree, fsName, join, type Directory } from '../apply/directory-tree.ts';
import type { LayerFs } from '../fs.ts';
import { inDirectory } from '../node-fs.ts';
import type { ByteString } from '../tar/entry.ts';
import { LowerStack } from './lower-stack.ts';

/** One changed path. */
export interface Change {
  kind: 'add' | 'modify' | 'delete';
  /** From the root of the file system, without a slash at the begin. */
  path: ByteString;
}

/**
 * The changes of `upper` against `lowers` (topmost first), sorted, parents before what is inside them.
 *
 * A directory counts as modified when its mode, owner or time differs, or anything inside it; of a directory that was
 * removed whole only itself is told.
 */
export function* overlayChanges(
  layerFs: LayerFs,
  upper: string,
  lowers: readonly string[],
  overlayXattrs: 'trusted' | 'user',
): Generator<Change, void, undefined> {
  using tree = new DirectoryTree(layerFs, upper);
  using lower = new LowerStack(layerFs, lowers, overlayXattrs);
  yield* changesBelow(tree, lower, tree.root, []);
}

function* changesBelow(
  tree: DirectoryTree,
  lower: LowerStack,
  directory: Directory,
  components: readonly ByteString[],
): Generator<Change, void, undefined> {
  for (const name of tree.names(directory).sort()) {
    const stat = fs.lstatSync(inDirectory(directory.fd, fsName(name)), {
      bigint: true,
      throwIfNoEntry: false,
    });
    // the layer of a running container: gone again
    if (stat === undefined) continue;
    const path = join(directory.path, name);
    const at = [...components, name];
    const below = lower.lookup(at);
    if (stat.isCharacterDevice() && stat.rdev === 0n) {
      if (below.kind !== 'missing') yield { kind: 'delete', path };
    } else if (!stat.isDirectory()) {
      yield { kind: below.kind === 'missing' ? 'add' : 'modify', path };
    } else {
      const child = tree.openChild(directory, name);
      try {
        const inner = changesInside(tree, lower, child, at, lower.isOpaque(directory, name));
        const first = inner.next();
        if (below.kind === 'missing') yield { kind: 'add', path };
        else if (below.kind !== 'directory' || first.done !== true || differ(stat, below.stat)) {
          yield { kind: 'modify', path };
        }
        if (first.done !== true) yield first.value;
        yield* inner;
      } finally {
        fs.closeSync(child.fd);
      }
    }
  }
}

/** With what an opaque directory hides, in its place among the rest. */
function* changesInside(
  tree: DirectoryTree,
  lower: LowerStack,
  directory: Directory,
  components: readonly ByteString[],
  opaque: boolean,
): Generator<Change, void, undefined> {
  const changes = changesBelow(tree, lower, directory, components);
  if (!opaque) {
    yield* changes;
    return;
  }
  const own = new Set(tree.names(directory));
  const hidden = lower.names(components).filter((name) => !own.has(name));
  const removed = hidden.map((name): Change => ({ kind: 'delete', path: join(directory.path, name) }));
  yield* [...changes, ...removed].sort((a, b) => (a.path < b.path ? -1 : 1));
}

function differ(upper: fs.BigIntStats, lower: fs.BigIntStats): boolean {
  return (
    upper.mode !== lower.mode ||
    upper.uid !== lower.uid ||
    upper.gid !== lower.gid ||
    upper.mtimeNs !== lower.mtimeNs
  );
}

/** What a layer in the on-disk form of overlay changes in those below it. */
import * as fs from 'node:fs';
import { DirectoryTree, fsName, join, type Directory } from '../apply/directory-tree.ts';
import type { LayerFs } from '../fs.ts';
import { inDirectory } from '../node-fs.ts';
import type { ByteString } from '../tar/entry.ts';
import { LowerStack, type LowerEntry } from './lower-stack.ts';

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

/** @param lower - undefined where the layers below have nothing */
function* changesBelow(
  tree: DirectoryTree,
  lower: LowerStack | undefined,
  directory: Directory,
  components: readonly ByteString[],
): Generator<Change, void, undefined> {
  for (const [name, entry] of entriesOf(directory)) {
    const path = join(directory.path, name);
    const at = [...components, name];
    if (!entry.isDirectory() && !entry.isCharacterDevice()) {
      yield { kind: (lower?.lookup(at).kind ?? 'missing') === 'missing' ? 'add' : 'modify', path };
      continue;
    }
    const stat = fs.lstatSync(inDirectory(directory.fd, fsName(name)), {
      bigint: true,
      throwIfNoEntry: false,
    });
    // the layer of a running container: gone again
    if (stat === undefined) continue;
    const below: LowerEntry = lower?.lookup(at) ?? { kind: 'missing' };
    if (stat.isCharacterDevice() && stat.rdev === 0n) {
      if (below.kind !== 'missing') yield { kind: 'delete', path };
    } else if (!stat.isDirectory()) {
      yield { kind: below.kind === 'missing' ? 'add' : 'modify', path };
    } else {
      const child = tree.openChild(directory, name);
      try {
        const merged = below.kind === 'directory' ? lower : undefined;
        const opaque = merged?.isOpaque(directory, name) === true;
        const inner = opaque
          ? changesOfOpaque(tree, merged, child, at)
          : changesBelow(tree, merged, child, at);
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

/** Names and what they are, sorted; types come with the names, which saves looking at each. */
function entriesOf({ fd }: Directory): [ByteString, fs.Dirent<Buffer>][] {
  const entries = fs.readdirSync(`/proc/self/fd/${fd}`, { withFileTypes: true, encoding: 'buffer' });
  return entries
    .map((entry): [ByteString, fs.Dirent<Buffer>] => [entry.name.toString('latin1'), entry])
    .sort(([a], [b]) => (a < b ? -1 : 1));
}

/** With what an opaque directory hides, in its place among the rest. */
function* changesOfOpaque(
  tree: DirectoryTree,
  lower: LowerStack,
  directory: Directory,
  components: readonly ByteString[],
): Generator<Change, void, undefined> {
  const own = new Set(tree.names(directory));
  const hidden = lower.names(components).filter((name) => !own.has(name));
  const removed = hidden.map((name): Change => ({ kind: 'delete', path: join(directory.path, name) }));
  const changes = changesBelow(tree, lower, directory, components);
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

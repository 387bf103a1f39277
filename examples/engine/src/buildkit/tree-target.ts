/** Received files as a tree in memory, their content in a spool. */
import type { Spool, SpoolWriter } from '../builder/spool.ts';
import { newDirectory, SpooledTree, type TreeNode } from '../builder/spooled-tree.ts';
import { nowNs } from '../time.ts';
import type { Stat } from './gen/session_pb.ts';
import { goPermissions } from './wire/go-mode.ts';
import type { FileTarget, FileWriter } from './wire/receive-files.ts';

/** A file that was written to just now may be written to again, with the same time: it is not held to be unchanged. */
const SETTLED_NS = 1_000_000_000n;

/** Collects one tree. */
export class TreeTarget implements FileTarget<SpooledTree> {
  readonly #spool: Spool;
  readonly #before: SpooledTree | undefined;
  readonly #root = newDirectory(0o755, nowNs());
  #settled = true;
  /** Whether anything was asked for. */
  #changed = false;
  readonly #directories = new Map([['', this.#root.children]]);

  /** @param before - what was received before into the same spool: what has not changed is not asked for */
  constructor(spool: Spool, before: SpooledTree | undefined) {
    this.#spool = spool;
    this.#before = before;
  }

  directory(stat: Stat): void {
    const node = newDirectory(goPermissions(stat.mode), stat.modTime);
    this.#directories.set(stat.path, node.children);
    this.#add(stat.path, node);
  }

  symlink({ path, linkname, modTime }: Stat): void {
    const { entry } = newDirectory(0o777, modTime);
    this.#add(path, { entry: { ...entry, type: 'symlink', linkName: bytes(linkname) } });
  }

  file(stat: Stat): FileWriter | undefined {
    const { entry } = newDirectory(goPermissions(stat.mode), stat.modTime);
    const node: TreeNode = { entry: { ...entry, type: 'file' } };
    this.#add(stat.path, node);
    const known = this.#unchanged(stat);
    if (known) {
      node.entry.size = known.entry.size;
      node.content = known.content!;
      node.settled = true;
      return undefined;
    }
    this.#changed = true;
    let writer: SpoolWriter | undefined;
    // not before something comes: a listing may be long
    const file = (): SpoolWriter => (writer ??= this.#spool.create());
    return {
      write: (data) => file().append(data),
      end: () => {
        node.entry.size = file().sizeBytes;
        node.content = file().end();
        node.settled = nowNs() - node.entry.mtimeNs > SETTLED_NS;
        this.#settled &&= node.settled;
      },
    };
  }

  link(path: string, target: string): void {
    const [siblings, name] = this.#place(target);
    this.#add(path, siblings.get(name)!);
  }

  end(listing: string): SpooledTree {
    const before = this.#before;
    // what is known of a tree needs not be found again
    if (before?.listing === listing && !this.#changed) return before;
    return new SpooledTree(this.#root, this.#settled ? listing : undefined);
  }

  #unchanged({ path, size, modTime }: Stat): TreeNode | undefined {
    const node = this.#before?.at(path);
    if (node?.content === undefined || node.settled !== true) return undefined;
    return node.entry.mtimeNs === modTime && BigInt(node.entry.size) === size ? node : undefined;
  }

  #add(path: string, node: TreeNode): void {
    const [siblings, name] = this.#place(path);
    siblings.set(name, node);
  }

  #place(path: string): [Map<string, TreeNode>, string] {
    const at = path.lastIndexOf('/');
    return [this.#directories.get(path.slice(0, Math.max(0, at)))!, bytes(path.slice(at + 1))];
  }
}

/** A name as archives have it: one character per byte. */
function bytes(name: string): string {
  return /[^\0-\x7f]/.test(name) ? Buffer.from(name, 'utf8').toString('latin1') : name;
}

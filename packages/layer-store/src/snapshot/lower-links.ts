/**
 * Hard links of a layer to files that only the layers below it have: what is linked is copied up into the layer, as the
 * kernel does for link(2) on the mounted stack.
 */
import { DirectoryTree, fsName } from '../apply/directory-tree.ts';
import type { LowerLink } from '../apply/policy.ts';
import { LayerStoreError } from '../errors.ts';
import type { LayerFs } from '../fs.ts';
import { printable } from '../tar/entry.ts';
import type { LowerStack } from './lower-stack.ts';
import { Settler, split } from './settle.ts';
import type { SnapshotUsage } from './snapshotter.ts';

/**
 * Makes the links of the layer in `root`, in order. Its guessed directories are settled already.
 *
 * @returns what the layer takes in addition
 * @throws {LayerStoreError} `INVALID_TAR` when the layers below do not have the file either
 */
export function makeLowerLinks(
  layerFs: LayerFs,
  root: string,
  lower: LowerStack,
  links: readonly LowerLink[],
): SnapshotUsage {
  using tree = new DirectoryTree(layerFs, root);
  const settler = new Settler(layerFs, tree, lower, []);
  const usage = { sizeBytes: 0, inodes: 0 };
  for (const { path, target } of links) {
    tree.release();
    const [parent, name] = settler.place(split(path));
    const [targetParent, targetName] = settler.place(split(target));
    let stat = tree.stat(targetParent, targetName);
    if (stat === undefined && settler.copyUp(targetParent, targetName)) {
      stat = tree.stat(targetParent, targetName);
      usage.sizeBytes += stat?.size ?? 0;
      usage.inodes += 1;
    }
    if (stat === undefined || stat.isDirectory()) {
      throw new LayerStoreError(
        'INVALID_TAR',
        `${printable(path)} is a hard link to ${printable(target)}, which is no file of this layer or those below`,
        { entry: path },
      );
    }
    layerFs.linkat(targetParent.fd, fsName(targetName), parent.fd, fsName(name));
  }
  return usage;
}

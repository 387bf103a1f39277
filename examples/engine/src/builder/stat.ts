/** Looking at files of a root, where not being there is an answer. */
import type { FileStat, TreeRoot } from '../containers/trees.ts';

const S_IFMT = 0o170000;
const S_IFDIR = 0o040000;

/** The file at `path`; undefined for none. */
export function statIn(
  stat: (root: TreeRoot, path: string) => FileStat,
  root: TreeRoot,
  path: string,
): FileStat | undefined {
  try {
    return stat(root, path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'ELOOP') return undefined;
    throw error;
  }
}

/** What a file is, as far as copying goes. */
export function kindOf(stat: FileStat | undefined): 'missing' | 'directory' | 'file' {
  if (stat === undefined) return 'missing';
  return (stat.mode & S_IFMT) === S_IFDIR ? 'directory' : 'file';
}

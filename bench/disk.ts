/**
 * A file system of its own for each run that is measured. ext4 without a journal does not give the inodes of files that were
 * deleted in the last minutes to new ones, and looks at each of them again and again: on a disk where anything was cleaned
 * up lately, making files is up to ten times slower, for whoever comes next.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';

/** Sparse: it takes what is written. */
const SIZE_BYTES = 8 * 1024 ** 3;

/** Mounts a new, empty ext4 at `folder`, which must not be there; all of it is gone when `stack` is disposed of. */
export function freshDisk(folder: string, stack: AsyncDisposableStack): void {
  const image = `${folder}.ext4`;
  writeFileSync(image, '');
  stack.defer(() => rmSync(image, { force: true }));
  truncateSync(image, SIZE_BYTES);
  execFileSync('mkfs.ext4', ['-q', '-F', image]);
  mkdirSync(folder);
  execFileSync('mount', ['-o', 'loop', image, folder]);
  stack.defer(() => {
    execFileSync('umount', ['-l', folder]);
    rmSync(folder, { recursive: true, force: true });
  });
}

/** Disk use of a directory tree. */
import type { Dirent } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
import { systemCode } from '../errors.ts';
import type { SnapshotUsage } from './snapshotter.ts';

/**
 * Sums the lengths of all files and symbolic links below `root`, each inode once, as Docker counts the size of a layer:
 * holes count, directories do not. What vanishes meanwhile is left out. Mounts below `root` are counted too.
 */
export async function directoryUsage(root: string, signal: AbortSignal | undefined): Promise<SnapshotUsage> {
  const usage: SnapshotUsage = { sizeBytes: 0, inodes: 1 };
  /** Inodes with several names. */
  const seen = new Set<string>();
  const queue: Buffer[] = [Buffer.from(root)];
  for (let directory = queue.pop(); directory !== undefined; directory = queue.pop()) {
    signal?.throwIfAborted();
    for (const entry of await entriesOf(directory)) {
      const path = Buffer.concat([directory, Buffer.from('/'), entry.name]);
      if (entry.isDirectory()) {
        usage.inodes += 1;
        queue.push(path);
        continue;
      }
      const stat = await unlessMissing(lstat(path));
      if (stat === undefined) continue;
      if (stat.nlink > 1) {
        const inode = `${stat.dev}:${stat.ino}`;
        if (seen.has(inode)) continue;
        seen.add(inode);
      }
      usage.inodes += 1;
      usage.sizeBytes += stat.size;
    }
  }
  return usage;
}

async function entriesOf(directory: Buffer): Promise<Dirent<Buffer>[]> {
  return (await unlessMissing(readdir(directory, { withFileTypes: true, encoding: 'buffer' }))) ?? [];
}

async function unlessMissing<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

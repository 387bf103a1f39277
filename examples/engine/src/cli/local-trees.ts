/** Trees of this machine as archives and back, for `cp`. What comes from a container is not trusted: see `extractTar`. */
import { closeSync, constants, lstatSync, openSync, readdirSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { extractTar, nodeLayerFs, packTree, type LayerFs } from '@tare/layer-store';

type Bytes = AsyncIterable<Uint8Array>;

/** With the attributes of files where native code can be loaded, else without. */
async function localFs(): Promise<LayerFs> {
  try {
    const { AT_FDCWD, layerFs } = await import('@tare/runtime-native/syscalls');
    // loads it: the import alone does not
    layerFs.listxattrat(AT_FDCWD, '/');
    return layerFs;
  } catch {
    // a client on another system copies content, modes and times
    return { ...nodeLayerFs, listxattrat: () => [], getxattrat: () => undefined };
  }
}

/**
 * Unpacks an archive into a directory. Nothing is written outside of it, and no link in it is followed.
 *
 * @param keepOwners else everything belongs to the caller
 */
export async function extractInto(directory: string, archive: Bytes, keepOwners: boolean): Promise<void> {
  await extractTar(archive, directory, {
    fs: await localFs(),
    ownership: keepOwners ? 'keep' : 'caller',
    replace: 'same-kind',
    unsupported: 'skip',
  });
}

/** Unpacks the one file of an archive to `path`, which it replaces once it is complete. */
export async function extractFile(path: string, archive: Bytes, keepOwners: boolean): Promise<void> {
  const stage = await mkdtemp(join(dirname(path), `.${basename(path)}.`));
  try {
    await extractInto(stage, archive, keepOwners);
    const [name] = readdirSync(stage);
    if (name === undefined) throw new Error(`the archive of ${path} is empty`);
    await rename(join(stage, name), path);
  } finally {
    await rm(stage, { recursive: true, force: true });
  }
}

/** Makes the directory that a tree is copied to. */
export async function makeDirectory(path: string): Promise<void> {
  await mkdir(path, { recursive: true });
}

/**
 * The archive of a file or directory.
 *
 * @param as what it is called there; `.` for the content of a directory by bare names
 * @param owner of everything; default as it is
 * @param watch sees the bytes go by
 */
export function packLocal(
  path: string,
  as: string,
  owner: { uid: number; gid: number } | undefined,
  watch: (bytes: Bytes) => Bytes,
): Readable {
  const isDirectory = lstatSync(path).isDirectory();
  const place = isDirectory ? path : dirname(path);
  async function* archive(): Bytes {
    const fs = await localFs();
    const directory = openSync(place, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      yield* packTree(directory, {
        fs,
        as: latin1(as),
        ...(isDirectory ? {} : { name: latin1(basename(path)) }),
        ...(owner && { owner }),
      });
    } finally {
      closeSync(directory);
    }
  }
  return Readable.from(watch(archive()));
}

/** Names of archives have one character per byte. */
function latin1(name: string): string {
  return Buffer.from(name, 'utf8').toString('latin1');
}

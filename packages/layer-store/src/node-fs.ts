/**
 * `LayerFs` on `node:fs` alone: no addon, no privilege. Every directory is reached through `/proc/self/fd/<n>/<name>`,
 * whose last component is never followed, so it confines as the native calls do; Linux only.
 *
 * What `node:fs` cannot do (mknod, extended attributes, syncfs) throws `UNSUPPORTED`; times are rounded to what a
 * double holds, about a quarter of a microsecond.
 */
import * as fs from 'node:fs';
import { LayerStoreError } from './errors.ts';
import { RESOLVE, type LayerFs } from './fs.ts';

/** From `<fcntl.h>`; `node:fs` does not export it. The value is the same on every architecture that Node runs on. */
export const O_PATH = 0o10000000;

/** The {@link LayerFs} that needs nothing but Node.js on Linux. */
export const nodeLayerFs: LayerFs = {
  openat2(dirfd, path, { flags, mode, resolve }) {
    const components = split(path);
    if (components.length > 1 && (resolve & RESOLVE.NO_SYMLINKS) === 0) {
      throw unsupported('opening a path of several components that may hold symbolic links');
    }
    const last = components.pop()!;
    let parent = dirfd;
    try {
      for (const component of components) {
        const next = fs.openSync(
          inDirectory(parent, component),
          O_PATH | fs.constants.O_DIRECTORY | fs.constants.O_NOFOLLOW,
        );
        if (parent !== dirfd) fs.closeSync(parent);
        parent = next;
      }
      return fs.openSync(inDirectory(parent, last), flags | fs.constants.O_NOFOLLOW, mode ?? 0);
    } finally {
      if (parent !== dirfd) fs.closeSync(parent);
    }
  },
  mkdirat: (dirfd, name, mode) => fs.mkdirSync(inDirectory(dirfd, name), mode),
  mknodat() {
    throw unsupported('making a device node or fifo');
  },
  symlinkat: (target, dirfd, name) => fs.symlinkSync(asPath(target), inDirectory(dirfd, name)),
  linkat: (fromDirfd, fromName, dirfd, name) =>
    fs.linkSync(inDirectory(fromDirfd, fromName), inDirectory(dirfd, name)),
  unlinkat: (dirfd, name, directory) =>
    directory ? fs.rmdirSync(inDirectory(dirfd, name)) : fs.unlinkSync(inDirectory(dirfd, name)),
  fchownat: (dirfd, name, uid, gid) => fs.lchownSync(inDirectory(dirfd, name), uid, gid),
  fchmodat(dirfd, name, mode) {
    // the descriptor pins the inode: what the name is afterwards does not matter
    const fd = fs.openSync(inDirectory(dirfd, name), O_PATH | fs.constants.O_NOFOLLOW);
    try {
      if (fs.fstatSync(fd).isSymbolicLink()) throw unsupported('changing the mode of a symbolic link');
      fs.chmodSync(`/proc/self/fd/${fd}`, mode);
    } finally {
      fs.closeSync(fd);
    }
  },
  utimensat: (dirfd, name, atimeNs, mtimeNs) =>
    fs.lutimesSync(inDirectory(dirfd, name), Number(atimeNs) / 1e9, Number(mtimeNs) / 1e9),
  setxattrat() {
    throw unsupported('setting an extended attribute');
  },
  getxattrat() {
    throw unsupported('reading an extended attribute');
  },
  listxattrat() {
    throw unsupported('listing extended attributes');
  },
  syncfs() {
    throw unsupported('flushing a file system');
  },
};

/** `name` below an open directory, as a path that any `node:fs` call takes. */
export function inDirectory(dirfd: number, name: string | Uint8Array): string | Buffer {
  const directory = `/proc/self/fd/${dirfd}/`;
  return typeof name === 'string' ? directory + name : Buffer.concat([Buffer.from(directory), name]);
}

function asPath(path: string | Uint8Array): string | Buffer {
  return typeof path === 'string' ? path : Buffer.from(path);
}

/** The components of a path; refuses what would lead upwards. */
function split(path: string | Uint8Array): (string | Buffer)[] {
  const text = typeof path === 'string' ? path : Buffer.from(path).toString('latin1');
  const components = text.split('/');
  if (components.some((component) => component === '' || component === '.' || component === '..')) {
    throw unsupported(`opening a path with empty or dot components`);
  }
  return typeof path === 'string' ? components : components.map((c) => Buffer.from(c, 'latin1'));
}

function unsupported(what: string): LayerStoreError {
  return new LayerStoreError(
    'UNSUPPORTED',
    `${what} is beyond node:fs: inject a LayerFs with native calls, such as layerFs of @tare/runtime-native/syscalls`,
  );
}

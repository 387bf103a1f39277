/** Fits the packages to the engine's seams: each of these is a change of names, nothing more. */
import {
  closeSync,
  constants,
  createReadStream,
  fstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
} from 'node:fs';
import { posix } from 'node:path';
import { extractTar, packTree, TAR_END, tarEntry, type IdMap } from '@tare/layer-store';
import { bringUpLoopback } from '@tare/netdriver';
import {
  AT_FDCWD,
  connectUnix,
  createNetworkNamespace,
  createUserNamespace,
  defaultSeccompProfile,
  mount,
  openMount,
  mappedLayerFs,
  mountTable,
  parseSeccompProfile,
  removeNetworkNamespace,
  removeUserNamespace,
  RESOLVE,
  sendMessage,
  tryLock,
  unmount,
  type LayerSyscalls,
} from '@tare/runtime-native';
import type { RootSyscalls } from './containers/root-files.ts';
import type { LayerOptions, TreePart, Trees } from './containers/trees.ts';
import { ARCHIVE, packMembers, SUMMARY, type PartForm } from './containers/pack-members.ts';
import { withoutForeign } from './foreign-compression.ts';
import type { IdMapping, IdMaps, UserNamespaces } from './containers/user-namespaces.ts';
import type { Sandboxes, SeccompProfiles } from './containers/world.ts';
import type { SendDatagram } from './system/service-manager.ts';
import type { OpenUnixDatagrams } from './logs/sinks.ts';
import type { HostMounts } from './volumes/volumes.ts';

/** Network namespaces bound to files. */
export const nativeSandboxes: Sandboxes = {
  create: (path, userNamespace) =>
    createNetworkNamespace(path, userNamespace === undefined ? {} : { userNamespace }),
  bringUpLoopback,
  remove: removeNetworkNamespace,
};

/** User namespaces bound to files. */
export const nativeUserNamespaces: UserNamespaces = {
  create: createUserNamespace,
  remove: removeUserNamespace,
};

/** System-call filters of the runtime's own making. */
export const nativeSeccomp: SeccompProfiles = {
  standard: (capabilities) => defaultSeccompProfile({ capabilities }),
  parse: (profile, capabilities) => parseSeccompProfile(profile, { capabilities }),
};

/** Mounts of the namespace that the engine runs in. */
export const nativeHostMounts: HostMounts = {
  mount: (mounts, target) =>
    mount(
      mounts.map(({ options, ...rest }) => ({ ...rest, options: [...options] })),
      target,
    ),
  unmount: (target) => {
    while (unmount(target, { lazy: true }));
  },
  table: mountTable,
};

/** Unix sockets of datagrams: of syslog, the journal and service managers. */
export const nativeUnixDatagrams: OpenUnixDatagrams = (path) => {
  const fd = connectUnix(path, 'datagram');
  return {
    send: (data) => sendMessage(fd, data) !== undefined,
    [Symbol.dispose]: () => closeSync(fd),
  };
};

/** From `<fcntl.h>`; node:fs does not name it. */
const O_PATH = 0o10000000;

/** Attributes that mark a directory as hiding what is below it: as root, and in a user namespace. */
const OPAQUE_ATTRIBUTES = ['trusted.overlay.opaque', 'user.overlay.opaque'];

/** Reading inside a container's root without ever leaving it. */
export function nativeRootSyscalls(fs: LayerSyscalls): RootSyscalls {
  return {
    openInRoot(root, path) {
      const directory = openSync(root, O_PATH | constants.O_DIRECTORY);
      try {
        // a fifo planted in the root must not block the engine
        const flags = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY;
        return fs.openat2(directory, path, { flags, resolve: RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS });
      } finally {
        closeSync(directory);
      }
    },
    tryLock,
    isOpaque: (directory) =>
      OPAQUE_ATTRIBUTES.some((name) => {
        const value = fs.getxattrat(AT_FDCWD, directory, name);
        return value !== undefined && Buffer.from(value).toString('latin1') === 'y';
      }),
  };
}

/** Archives of files below a root. Whatever is in the root, nothing leads out of it. */
export function nativeTrees(fs: LayerSyscalls): Trees {
  const openIn = (root: string, path: string, flags: number): number => {
    const directory = openSync(root, O_PATH | constants.O_DIRECTORY);
    try {
      return fs.openat2(directory, path, { flags, resolve: RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS });
    } finally {
      closeSync(directory);
    }
  };
  const stat: Trees['stat'] = (root, path) => {
    if (typeof root !== 'string') return root.stat(path);
    const file = openIn(root, path, O_PATH | constants.O_NOFOLLOW);
    try {
      const found = fstatSync(file, { bigint: true });
      const { mtimeNs } = found;
      const known = { mode: Number(found.mode), size: Number(found.size), mtimeNs };
      if (!found.isSymbolicLink()) return known;
      const parent = openIn(root, posix.dirname(path), O_PATH | constants.O_DIRECTORY);
      try {
        return { ...known, linkName: readlinkSync(`/proc/self/fd/${parent}/${posix.basename(path)}`) };
      } finally {
        closeSync(parent);
      }
    } finally {
      closeSync(file);
    }
  };
  async function* packPart(
    part: TreePart,
    form: PartForm,
    options: LayerOptions & { signal: AbortSignal },
  ): AsyncIterable<Uint8Array> {
    const { kind, name, owner, mtimeNs } = part;
    const mode = part.kind === 'tree' ? undefined : part.mode;
    const look = {
      ...owner,
      ...(mode === undefined ? {} : { mode }),
      ...(mtimeNs === undefined ? {} : { mtimeNs }),
    };
    const { members } = options;
    if (kind === 'directory') {
      const entry = tarEntry('directory', `${name}/`, look);
      yield form.header(entry);
      members?.entry(entry);
      members?.entryEnd();
    } else if (kind === 'file') {
      const entry = tarEntry('file', name, { ...look, size: part.content.length });
      yield form.header(entry);
      yield* form.content(part.content);
      members?.entry(entry);
      if (entry.size > 0) members?.data(part.content, 0);
      members?.entryEnd();
    } else if (typeof part.root !== 'string') {
      yield* packMembers(part.root.members(part.path), part, form, options);
    } else {
      const isDirectory = (stat(part.root, part.path).mode & constants.S_IFMT) === constants.S_IFDIR;
      const place = isDirectory ? part.path : posix.dirname(part.path);
      const directory = openIn(part.root, place, constants.O_RDONLY | constants.O_DIRECTORY);
      const { exclude, modeOf } = part;
      try {
        yield* packTree(directory, {
          fs,
          ...options,
          endMark: false,
          summary: form.summary,
          ...(isDirectory
            ? { contentOnly: true, ...(name === '' ? {} : { as: bytes(name) }) }
            : { name: bytes(posix.basename(part.path)), as: bytes(name) }),
          ...(owner ? { owner } : {}),
          ...(mtimeNs === undefined ? {} : { mtimeNs }),
          ...(modeOf ? { modeOf: (entry) => modeOf(entry.mode, entry.type === 'directory') } : {}),
          ...(exclude ? { exclude: (path, directory) => exclude(text(path), directory) } : {}),
        });
      } finally {
        closeSync(directory);
      }
    }
  }
  const openFile = (root: string, path: string): number => {
    // a fifo must not block the engine
    const file = openIn(root, path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
    if (fstatSync(file).isFile()) return file;
    closeSync(file);
    throw Object.assign(new Error(`EINVAL: ${path} is no regular file`), { code: 'EINVAL' });
  };
  return {
    stat,
    names(root, path) {
      if (typeof root !== 'string') return root.names(path);
      const directory = openIn(root, path, constants.O_RDONLY | constants.O_DIRECTORY);
      try {
        return readdirSync(`/proc/self/fd/${directory}`);
      } finally {
        closeSync(directory);
      }
    },
    read(root, path, length) {
      if (typeof root !== 'string') return root.read(path, length);
      const file = openFile(root, path);
      try {
        const buffer = Buffer.alloc(length);
        return buffer.subarray(0, readSync(file, buffer, 0, length, 0));
      } finally {
        closeSync(file);
      }
    },
    stream: (root, path) =>
      typeof root === 'string'
        ? // the stream owns the descriptor
          createReadStream('', { fd: openFile(root, path), highWaterMark: 256 * 1024 })
        : root.stream(path),
    async *pack(root, path, as, options) {
      const isDirectory = (stat(root, path).mode & constants.S_IFMT) === constants.S_IFDIR;
      const place = isDirectory ? path : posix.dirname(path);
      const directory = openIn(root, place, constants.O_RDONLY | constants.O_DIRECTORY);
      try {
        const names = isDirectory ? {} : { name: bytes(posix.basename(path)) };
        const { ids, ...rest } = options;
        yield* packTree(directory, { ...rest, ...names, fs, as: bytes(as), idMap: ids && readableIds(ids) });
      } finally {
        closeSync(directory);
      }
    },
    async extract(archive, root, path, { owner, ids, sameKind, signal }) {
      // the path of a root may itself be a link, of /proc
      await extractTar(withoutForeign(archive), `${root}/.`, {
        fs: ids ? mappedLayerFs(ids) : fs,
        base: bytes(path),
        owner,
        idMap: ids && idMapOf(ids),
        replace: sameKind ? 'same-kind' : 'any',
        signal,
      });
    },
    async *layer(parts, signal, options) {
      for (const part of parts) yield* packPart(part, ARCHIVE, { ...options, signal });
      yield TAR_END;
    },
    async *summary(parts, signal) {
      for (const part of parts) yield* packPart(part, SUMMARY, { signal });
    },
    mount(mounts, directory) {
      mount(mounts, directory);
      return { [Symbol.dispose]: () => void unmount(directory, { lazy: true }) };
    },
    unmount(directory) {
      while (unmount(directory, { lazy: true }));
    },
    open(mounts) {
      const [only, ...more] = mounts;
      if (!only || more.length > 0) throw new Error('a snapshot of several mounts cannot be opened');
      const root = openMount(only);
      return { path: `/proc/self/fd/${root}`, [Symbol.dispose]: () => closeSync(root) };
    },
  };
}

function idMapOf({ uidMappings, gidMappings }: IdMaps): IdMap {
  return { uids: uidMappings, gids: gidMappings };
}

/** Ids of the host that a container does not know, of folders that are shared with it, stay what they are. */
function readableIds(ids: IdMaps): IdMap {
  const open = (mappings: readonly IdMapping[]): IdMapping[] => [
    ...mappings,
    { containerID: 0, hostID: 0, size: 2 ** 32 },
  ];
  return { uids: open(ids.uidMappings), gids: open(ids.gidMappings) };
}

function text(name: string): string {
  return Buffer.from(name, 'latin1').toString('utf8');
}

/** A name as archives have it: one character per byte. */
function bytes(name: string): string {
  return Buffer.from(name, 'utf8').toString('latin1');
}

/** One datagram to a unix socket. */
export const nativeDatagram: SendDatagram = (path, data) => {
  const socket = connectUnix(path, 'datagram');
  try {
    sendMessage(socket, data);
  } finally {
    closeSync(socket);
  }
};

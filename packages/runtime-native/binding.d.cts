/**
 * The contract between the addon and TypeScript. Named wrappers with checks and documentation are in `src/`; this is the
 * raw surface. Descriptors are numbers; -100 (AT_FDCWD) is accepted as a directory. Failures throw an Error with `code`,
 * `errno` (negative), `syscall` and, where there is one, `path`.
 */

/** Text, or the raw bytes of a name that is not UTF-8. */
type Path = string | Uint8Array;

interface Binding {
  // bpf.cc
  setCgroupDevices(cgroupFd: number, instructions: Uint8Array): void;

  // file_queue.cc
  FileQueue: new () => NativeFileQueue;

  // fs.cc
  openat2(dirfd: number, path: Path, flags: number, mode: number, resolve: number): number;
  mkdirat(dirfd: number, name: Path, mode: number): void;
  mknodat(dirfd: number, name: Path, mode: number, major: number, minor: number): void;
  symlinkat(target: Path, dirfd: number, name: Path): void;
  linkat(fromDirfd: number, fromName: Path, dirfd: number, name: Path): void;
  unlinkat(dirfd: number, name: Path, directory: boolean): void;
  renameat2(fromDirfd: number, fromName: Path, dirfd: number, name: Path, flags: number): void;
  fchownat(dirfd: number, name: Path, uid: number, gid: number): void;
  fchmodat(dirfd: number, name: Path, mode: number): void;
  utimensat(dirfd: number, name: Path, atimeNs: bigint, mtimeNs: bigint): void;
  setxattrat(dirfd: number, name: Path, attribute: string, value: Uint8Array): void;
  getxattrat(dirfd: number, name: Path, attribute: string): Uint8Array | undefined;
  listxattrat(dirfd: number, name: Path): string[];
  syncfs(fd: number): void;
  spreadSubdirectories(fd: number): boolean;
  tryLock(fd: number): boolean;
  /** Of the calling thread; it keeps its capabilities. */
  setFsIds(uid: number, gid: number): void;

  // hash_thread.cc
  /** Whether there is the OpenSSL that it needs. */
  hasHashThread(): boolean;
  HashThread: new (isSha512: boolean) => NativeHashThread;

  // mount.cc
  mount(
    source: Path | undefined,
    target: Path,
    type: string | undefined,
    flags: number,
    data: Path | undefined,
  ): void;
  umount(target: Path, flags: number): void;
  openTree(dirfd: number, path: Path, flags: number): number;
  moveMount(fromDirfd: number, fromPath: Path, toDirfd: number, toPath: Path, flags: number): void;
  fsopen(type: string): number;
  fsconfig(fd: number, key: string, value: Path | undefined): void;
  fsmount(fd: number, attributes: number): number;
  mountSetattr(
    dirfd: number,
    path: Path,
    flags: number,
    set: number,
    clear: number,
    propagation: number,
    /** A descriptor, with MOUNT_ATTR_IDMAP. */
    userNamespace?: number,
  ): void;

  // namespaces.cc
  createNetworkNamespace(path: Path): Promise<void>;
  removeNetworkNamespace(path: Path): Promise<void>;
  openNetworkNamespace(path: Path): number;
  /** `settings` alternates paths and values. */
  writeFilesIn(netns: number, settings: string[], ignoreMissing: boolean): Promise<void>;
  readFileIn(netns: number, path: string): string;

  // netlink.cc
  NetlinkSocket: new (protocol: number, netns: number, groups: number[]) => NativeNetlinkSocket;

  // process.cc
  /** `fds` become 0, 1, 2, …; -1 stands for /dev/null. */
  spawn(exeFd: number, argv: string[], env: string[], fds: number[]): { pid: number; pidfd: number };
  pidfdOpen(pid: number): number;
  pidfdSendSignal(pidfd: number, signal: number): void;
  waitPidfd(pidfd: number): { code: number; signal: null } | { code: null; signal: number } | undefined;
  memfdCreate(name: string): number;
  /** Read end and write end, close-on-exec. */
  pipe(): [number, number];
  eventfd(): number;
  addSeals(fd: number, seals: number): void;
  getSeals(fd: number): number;
  sealedExecutable(path: string): number;
  closeFds(fds: number[]): void;
  /** See `src/process.ts`. */
  trimMemory(): void;
  /** RLIMIT_NOFILE when the addon was loaded; -1 is unlimited. */
  openFilesLimit: { soft: number; hard: number };

  // seccomp.cc
  seccompReceive(
    listener: number,
  ):
    | { id: bigint; pid: number; syscall: number; arch: number; instruction: bigint; args: bigint[] }
    | undefined;
  seccompSend(listener: number, id: bigint, value: bigint, error: number, flags: number): boolean;
  seccompValid(listener: number, id: bigint): boolean;

  // socket.cc
  socketpair(type: number): [number, number];
  connectUnix(path: Path, type: number): number;
  listenUnix(path: Path, type: number): number;
  acceptUnix(fd: number): number | undefined;
  sendmsg(fd: number, data: Uint8Array, fds: number[]): number | undefined;
  recvmsg(fd: number, maxBytes: number): { data: Uint8Array; fds: number[]; truncated: boolean } | undefined;
  bindPort(datagram: boolean, address: string, port: number): { fd: number; port: number };
  /** Bound, and listening when it is no datagram socket; non-blocking. `netns` -1 is the process's own. */
  openSocket(
    netns: number,
    datagram: boolean,
    address: string,
    port: number,
    listen: boolean,
  ): { fd: number; port: number };
  peerCredentials(fd: number): { pid: number; uid: number; gid: number };

  // terminal.cc
  openpty(): { master: number; slave: number; number: number };
  setWindowSize(fd: number, columns: number, rows: number): void;
  getWindowSize(fd: number): { columns: number; rows: number };

  // watch.cc
  /** `events`: 1 readable, 2 writable. `callback` gets a negative errno, or 0 and the events that are ready. */
  Watcher: new (
    fd: number,
    events: number,
    callback: (status: number, events: number) => void,
  ) => NativeWatcher;

  // whole_file.cc
  /** False for whatever is no plain file that fits; `facts` become mode, uid, gid, size, seconds and nanoseconds of mtime. */
  readPlainFile(
    dirfd: number,
    name: Path,
    resolve: number,
    into: Uint8Array,
    facts: Float64Array<ArrayBuffer>,
  ): boolean;
  /** A `uid` of -1 leaves the owner. */
  createFile: MakeFile<void>;
}

type MakeFile<Result> = (
  dirfd: number,
  name: Path,
  content: Uint8Array,
  mode: number,
  uid: number,
  gid: number,
  atimeNs: bigint,
  mtimeNs: bigint,
) => Result;

interface NativeFileQueue {
  add: MakeFile<boolean>;
  settle(): { number: number; error: Error } | undefined;
  close(): void;
}

interface NativeHashThread {
  update(chunk: Uint8Array): void;
  digest(): string;
  close(): void;
}

interface NativeNetlinkSocket {
  readonly fd: number;
  readonly portId: number;
  exchange(bytes: Uint8Array): Uint8Array[];
  request(bytes: Uint8Array): Promise<Uint8Array[]>;
  receive(): Uint8Array[];
  close(): void;
}

interface NativeWatcher {
  close(): void;
  keepAlive(keepAlive: boolean): void;
}

/** The addon. @throws {Error} `UNSUPPORTED` off Linux, `NATIVE_MISSING` before it is compiled */
declare function load(): Binding;

/** Absolute path of the static helper. @throws {Error} as {@link load} */
declare function helperPath(): string;

export { load, helperPath };
export type { Binding, NativeFileQueue, NativeHashThread, NativeNetlinkSocket, NativeWatcher, Path };

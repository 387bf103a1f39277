export { createCgroup, openCgroup, sweepCgroups } from './cgroups/cgroups.ts';
export type { Cgroup, CgroupPlacement } from './cgroups/cgroup.ts';
export type { CgroupOptions } from './cgroups/cgroups.ts';
export { detectCgroups } from './cgroups/layout.ts';
export type { CgroupLayout, Hierarchy } from './cgroups/layout.ts';
export { RuntimeError } from './errors.ts';
export type { RuntimeErrorCode, RuntimeErrorDetails } from './errors.ts';
export { features } from './features.ts';
export type { Features } from './features.ts';
export { mount, mountAt, mountTable, openMount, parseMountInfo, unmount } from './mounts.ts';
export type { MountPoint } from './mounts.ts';
export { plan } from './launch-plan.ts';
export type { LaunchPlan, PlanOptions } from './launch-plan.ts';
export { createNativeRuntime } from './native-runtime.ts';
export type { NativeRuntimeOptions } from './native-runtime.ts';
export { openNetlink } from './netlink.ts';
export type { NetlinkSocket, OpenNetlinkOptions } from './netlink.ts';
export {
  createNetworkNamespace,
  openNetworkNamespace,
  readSysctl,
  removeNetworkNamespace,
  writeSysctls,
} from './network-namespace.ts';
export { encodePlan, formatPlan } from './plan/operations.ts';
export type { Operation, OperationName, Plan } from './plan/operations.ts';
export { openSocket } from './namespace-socket.ts';
export type { OpenSocketOptions } from './namespace-socket.ts';
export { reservePort } from './port-reservation.ts';
export type { PortReservation, ReservePortOptions } from './port-reservation.ts';
export {
  SEAL,
  addSeals,
  closeFds,
  getSeals,
  helperFd,
  initProgram,
  memfdCreate,
  openFilesLimit,
  pidfdExited,
  pidfdOpen,
  pidfdSendSignal,
  readable,
  spawnHelper,
  spawnProcess,
  trimMemory,
  waitPidfd,
  watchReadable,
  writable,
} from './process.ts';
export type { SpawnOptions, SpawnedProcess, WaitStatus, WatchOptions, Watcher } from './process.ts';
export type {
  Attachment,
  CallOptions,
  Container,
  ContainerEvent,
  ContainerState,
  ContainerStats,
  ContainerStatus,
  CreateOptions,
  ExecOptions,
  ExecProcess,
  ExitStatus,
  LogFile,
  Mount,
  Process,
  Runtime,
  StdioOptions,
} from './runtime.ts';
export { compileSeccomp, defaultSeccompProfile, parseSeccompProfile, seccompFlags } from './seccomp.ts';
export type { CompileSeccompOptions, DefaultSeccompOptions, ResolveSeccompOptions } from './seccomp.ts';
export { answerNotification, notificationIsValid, receiveNotification } from './seccomp/notifications.ts';
export type { SeccompAnswer, SeccompNotification } from './seccomp/notifications.ts';
export { mappedLayerFs } from './mapped-fs.ts';
export { AT_FDCWD, RESOLVE, layerFs, renameat2, tryLock } from './syscalls.ts';
export type { FileQueue, HashThread, LayerSyscalls, SystemError } from './syscalls.ts';
export { getWindowSize, openPseudoTerminal, setWindowSize } from './terminal.ts';
export type { PseudoTerminal, WindowSize } from './terminal.ts';
export {
  acceptUnix,
  connectUnix,
  listenUnix,
  peerCredentials,
  receiveMessage,
  sendMessage,
  socketpair,
} from './unix-socket.ts';
export type { UnixMessage, UnixSocketType } from './unix-socket.ts';
export { createUserNamespace, removeUserNamespace } from './user-namespace.ts';
export type { UserNamespaceMaps } from './user-namespace.ts';

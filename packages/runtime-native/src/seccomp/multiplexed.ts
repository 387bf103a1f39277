/**
 * i386 has two ways to most socket and System V IPC calls: their own numbers, and one call that takes the wanted
 * function as its first argument. A rule for the one must hold for the other.
 */
import type { LinuxSeccomp } from '../spec/index.ts';
import type { SeccompArchitecture } from './architectures.ts';

type Condition = NonNullable<NonNullable<LinuxSeccomp['syscalls']>[number]['args']>[number];

/** `<linux/net.h>` SYS_*. */
const SOCKETCALL: Readonly<Record<string, number>> = {
  socket: 1,
  bind: 2,
  connect: 3,
  listen: 4,
  accept: 5,
  getsockname: 6,
  getpeername: 7,
  socketpair: 8,
  send: 9,
  recv: 10,
  sendto: 11,
  recvfrom: 12,
  shutdown: 13,
  setsockopt: 14,
  getsockopt: 15,
  sendmsg: 16,
  recvmsg: 17,
  accept4: 18,
  recvmmsg: 19,
  sendmmsg: 20,
};

/** `<linux/ipc.h>`. */
const IPC: Readonly<Record<string, number>> = {
  semop: 1,
  semget: 2,
  semctl: 3,
  semtimedop: 4,
  msgsnd: 11,
  msgrcv: 12,
  msgget: 13,
  msgctl: 14,
  shmat: 21,
  shmdt: 22,
  shmget: 23,
  shmctl: 24,
};

/** The other way to a call: the multiplexer, and the condition that picks the call. Undefined when there is none. */
export function multiplexed(
  architecture: SeccompArchitecture,
  name: string,
): { call: string; condition: Condition } | undefined {
  if (architecture !== 'SCMP_ARCH_X86') return undefined;
  const socket = SOCKETCALL[name];
  if (socket !== undefined) {
    return { call: 'socketcall', condition: { index: 0, op: 'SCMP_CMP_EQ', value: socket } };
  }
  const ipc = IPC[name];
  if (ipc === undefined) return undefined;
  // the high half of the argument is a version that the kernel takes off
  return { call: 'ipc', condition: { index: 0, op: 'SCMP_CMP_MASKED_EQ', value: 0xffff, valueTwo: ipc } };
}

/**
 * The other side of `SCMP_ACT_NOTIFY`: an agent gets the listener of a filter over its socket, and decides call by call.
 *
 * The agent listens on `linux.seccomp.listenerPath` ({@link listenUnix}); each process that loads such a filter brings
 * one message, the container process state of the runtime spec as JSON, with the listener as its one descriptor.
 *
 * @see https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#containerprocessstate
 */
import { load } from '#binding';

/** A call that waits for its verdict. */
export interface SeccompNotification {
  /** Of this notification, for the answer. */
  id: bigint;
  /** Who makes the call, in the pid namespace of this process; 0 when it is not in there. */
  pid: number;
  /** Number of the call in the architecture's table. */
  syscall: number;
  /** AUDIT_ARCH_… of `<linux/audit.h>`. */
  arch: number;
  /** Where in its memory it makes it. */
  instruction: bigint;
  /** The six arguments. Memory that they point to may change until the answer: trust nothing that is read there. */
  args: bigint[];
}

/** A verdict: what the call returns, the errno it fails with, or that it is done after all. */
export type SeccompAnswer = { value: bigint } | { errno: number } | { continue: true };

const CONTINUE = 1;

/**
 * Takes one notification, once the listener is readable ({@link watchReadable}). Never waits: undefined when there is none,
 * because the call was given up meanwhile, or because the last process with the filter has ended.
 */
export function receiveNotification(listener: number): SeccompNotification | undefined {
  return load().seccompReceive(listener);
}

/**
 * Answers a notification. `{ continue: true }` must not be a decision about security: another thread may change what
 * pointers lead to before the kernel looks again.
 *
 * @returns false when the call was given up meanwhile
 */
export function answerNotification(listener: number, id: bigint, answer: SeccompAnswer): boolean {
  const value = 'value' in answer ? answer.value : 0n;
  const error = 'errno' in answer ? -answer.errno : 0;
  return load().seccompSend(
    listener,
    BigInt.asIntN(64, id),
    value,
    error,
    'continue' in answer ? CONTINUE : 0,
  );
}

/** Whether the call still waits: to be asked after reading the memory of a process whose pid may be another's by now. */
export function notificationIsValid(listener: number, id: bigint): boolean {
  return load().seccompValid(listener, BigInt.asIntN(64, id));
}

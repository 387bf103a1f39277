/** The errors of this package: one base, one kind for what was asked, one for what the kernel answered. */

import { getSystemErrorName } from 'node:util';

const BRAND = Symbol.for('@tare/netdriver/NetdriverError');

/**
 * Base of every error this package throws.
 *
 * Match on `code`, which is stable, or with {@link NetdriverError.is}: it recognises errors of another loaded copy
 * (ESM beside CJS), where `instanceof` does not.
 */
export class NetdriverError extends Error {
  /** Stable, machine-readable cause. */
  readonly code: string;

  constructor(code: string, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }

  /** Whether `value` is a NetdriverError of any loaded copy of this package. */
  static is(value: unknown): value is NetdriverError {
    return typeof value === 'object' && value !== null && BRAND in value;
  }
}
Object.defineProperty(NetdriverError.prototype, BRAND, { value: true });
Object.defineProperty(NetdriverError.prototype, 'name', { value: 'NetdriverError', writable: true });

/** Why a driver refused or failed. */
export type NetworkErrorCode =
  | 'ADDRESS_IN_USE'
  | 'ADDRESS_OVERLAP'
  | 'ALREADY_EXISTS'
  | 'IN_USE'
  | 'INVALID_CONFIG'
  | 'NO_FREE_ADDRESS'
  | 'NOT_FOUND'
  | 'POOL_EXHAUSTED'
  | 'PORT_IN_USE'
  | 'RECONCILE_INCOMPLETE'
  | 'UNSUPPORTED';

/** What a {@link NetworkError} is about, for callers that render their own message. */
export interface NetworkErrorDetails {
  /** Host address of the port that was taken (`PORT_IN_USE`). */
  ip?: string;
  /** Host port that was taken (`PORT_IN_USE`); the first one of a range. */
  port?: number;
  /** Transport protocol of the port that was taken (`PORT_IN_USE`). */
  protocol?: string;
  /** Every failure, where one call gathers several (`RECONCILE_INCOMPLETE`). */
  errors?: readonly unknown[];
}

/** A network, endpoint, address or port is not what the call needs. */
export class NetworkError extends NetdriverError {
  declare readonly code: NetworkErrorCode;
  readonly ip: string | undefined;
  readonly port: number | undefined;
  readonly protocol: string | undefined;
  readonly errors: readonly unknown[] | undefined;

  constructor(
    code: NetworkErrorCode,
    message: string,
    { cause, ip, port, protocol, errors }: { cause?: unknown } & NetworkErrorDetails = {},
  ) {
    super(code, message, cause === undefined ? undefined : { cause });
    this.ip = ip;
    this.port = port;
    this.protocol = protocol;
    this.errors = errors;
  }
}
Object.defineProperty(NetworkError.prototype, 'name', { value: 'NetworkError', writable: true });

/** Where the kernel says that a request went wrong. */
export interface NetlinkErrorDetails {
  /** What was asked, for the message: `create bridge br0`. */
  request: string;
  /** The kernel's own words (extended acknowledgement), where it had any. */
  kernelMessage?: string | undefined;
  /** Offset in bytes of the offending attribute, from the start of the request's message. */
  offset?: number | undefined;
}

/**
 * The kernel refused a netlink request. `code` is the errno's name (`'EEXIST'`), `errno` its positive number.
 *
 * @see {@link https://docs.kernel.org/userspace-api/netlink/intro.html#ext-ack | Extended ACK}
 */
export class NetlinkError extends NetdriverError {
  readonly errno: number;
  readonly kernelMessage: string | undefined;
  readonly offset: number | undefined;

  constructor(errno: number, { request, kernelMessage, offset }: NetlinkErrorDetails) {
    const code = errnoName(errno);
    super(code, `${request}: ${code}${kernelMessage ? `: ${kernelMessage}` : ''}`);
    this.errno = errno;
    this.kernelMessage = kernelMessage;
    this.offset = offset;
  }
}
Object.defineProperty(NetlinkError.prototype, 'name', { value: 'NetlinkError', writable: true });

/** Bytes that should have been a netlink message are not one (`MALFORMED`). */
export class NetlinkDecodeError extends NetdriverError {
  constructor(message: string) {
    super('MALFORMED', message);
  }
}
Object.defineProperty(NetlinkDecodeError.prototype, 'name', { value: 'NetlinkDecodeError', writable: true });

/** Bytes that should have been a DNS query are not one (`MALFORMED_DNS`). */
export class DnsDecodeError extends NetdriverError {
  constructor(message: string) {
    super('MALFORMED_DNS', message);
  }
}
Object.defineProperty(DnsDecodeError.prototype, 'name', { value: 'DnsDecodeError', writable: true });

/** The name of a positive errno: `'EEXIST'` for 17, `'E512'` for one that nobody has named. */
export function errnoName(errno: number): string {
  const own = OWN_NAMES[errno];
  if (own) return own;
  // Node throws for 0 and names unknown numbers in prose
  const name = errno > 0 ? getSystemErrorName(-errno) : '';
  return /^E[A-Z0-9]+$/.test(name) ? name : `E${errno}`;
}

// unknown to libuv, or known by the less usual of two names
const OWN_NAMES: Record<number, string> = { 54: 'EXFULL', 85: 'ERESTART', 95: 'EOPNOTSUPP' };

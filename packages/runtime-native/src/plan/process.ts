/** The last part of a plan: a process gives up its power, waits at the gate, and becomes its program. */
import { capabilityMask } from '../spec/capabilities.ts';
import { RLIMIT_TYPES } from '../spec/config.ts';
import type { ProcessSpec } from '../spec/config.ts';
import type { StdioOptions } from '../runtime.ts';
import type { SeccompFilter } from './context.ts';
import type { ProcessIdentity } from './namespaces.ts';
import type { Operation } from './operations.ts';
import { invalid } from './validate.ts';

/** Flags of STDIO. */
export const STDIO = {
  TERMINAL: 1,
  OPEN_STDIN: 2,
  STDIN_ONCE: 4,
  HOLD: 8,
  AUTOSTART: 16,
  INHERIT: 32,
  CONSOLE: 64,
  ORPHAN: 128,
  KEYRING: 256,
} as const;

const RLIM_INFINITY = 0xffff_ffff_ffff_ffffn;
const GATE: Operation = ['GATE'];
const CAP_SYS_ADMIN = 1n << 21n;

/** Numbers of `<asm-generic/resource.h>`, which every architecture that we build for shares. */
const RLIMITS = new Map<string, number>(RLIMIT_TYPES.map((type) => [type, rlimitNumber(type)]));

function rlimitNumber(type: string): number {
  const order = ['CPU', 'FSIZE', 'DATA', 'STACK', 'CORE', 'RSS', 'NPROC', 'NOFILE', 'MEMLOCK', 'AS', 'LOCKS'];
  order.push('SIGPENDING', 'MSGQUEUE', 'NICE', 'RTPRIO', 'RTTIME');
  return order.indexOf(type.slice('RLIMIT_'.length));
}

function limit(value: number): bigint {
  // 2^64 - 1 is not a double: JSON.parse made 2^64 of it
  return value >= 2 ** 64 ? RLIM_INFINITY : BigInt(value);
}

function gidBytes(gids: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(gids.length * 4);
  const view = new DataView(bytes.buffer);
  gids.forEach((gid, i) => view.setUint32(i * 4, gid, true));
  return bytes;
}

/** The STDIO operation of a process. `flags` adds HOLD or AUTOSTART. */
export function stdioOperation(process: ProcessSpec, stdio: StdioOptions, flags = 0): Operation {
  if (isTerminal(process, stdio)) flags |= STDIO.TERMINAL;
  if (stdio.openStdin) flags |= STDIO.OPEN_STDIN;
  if (stdio.stdinOnce) flags |= STDIO.STDIN_ONCE;
  if (stdio.inherit) flags |= STDIO.INHERIT;
  if (stdio.consoleSocket !== undefined) {
    if (!(flags & STDIO.TERMINAL)) throw invalid('stdio.consoleSocket', 'needs a terminal to send');
    flags |= STDIO.CONSOLE;
  }
  if (stdio.reparent) flags |= STDIO.ORPHAN;
  // nothing comes through the monitor that could wait for a client
  if (flags & (STDIO.INHERIT | STDIO.CONSOLE)) flags &= ~STDIO.HOLD;
  const size = stdio.consoleSize ?? {
    columns: process.consoleSize?.width ?? 0,
    rows: process.consoleSize?.height ?? 0,
  };
  return ['STDIO', flags, size.columns & 0xffff, size.rows & 0xffff];
}

/** Whether the process gets a pseudo-terminal. */
export function isTerminal(process: ProcessSpec, stdio: StdioOptions): boolean {
  return stdio.terminal ?? process.terminal ?? false;
}

/** What the hard limits must allow, before the power to raise them is gone. */
export function* limitRoom({ rlimits = [] }: ProcessSpec): Generator<Operation> {
  for (const { type, hard } of rlimits) yield ['LIMIT_ROOM', RLIMITS.get(type)!, limit(hard)];
}

/** Where programs are looked for: as the helper does it when it executes one. */
function searchPath(env: readonly string[]): string {
  return env.find((entry) => entry.startsWith('PATH='))?.slice('PATH='.length) ?? '/bin:/usr/bin';
}

/** Phase 3, for containers and exec'd processes alike. */
export function* processOperations(
  process: ProcessSpec,
  context: {
    identity: ProcessIdentity;
    seccomp: SeccompFilter | undefined;
    /** What comes first after the gate. */
    started: Iterable<Operation>;
    /** Whether a missing program is noticed before the gate. */
    lookUp: boolean;
  },
): Generator<Operation> {
  const { user, capabilities = {}, noNewPrivileges = false } = process;
  const { seccomp, identity } = context;
  const { available, userFlags } = identity;
  for (const { type, soft, hard } of process.rlimits ?? []) {
    yield ['RLIMIT', RLIMITS.get(type)!, limit(soft), limit(hard)];
  }
  yield ['WORKING_DIRECTORY', process.cwd];

  const mask = (names: readonly string[] | undefined): bigint => capabilityMask(names) & available;
  const permitted = mask(capabilities.permitted);
  const effective = mask(capabilities.effective) & permitted;
  const inheritable = mask(capabilities.inheritable);
  const ambient = mask(capabilities.ambient) & permitted & inheritable;
  yield ['BOUNDING', mask(capabilities.bounding)];
  yield ['USER', user.uid, user.gid, gidBytes(user.additionalGids ?? []), userFlags];
  yield ['UMASK', user.umask ?? 0o022];
  // without no_new_privs only CAP_SYS_ADMIN may load a filter, so it goes last of all
  const lends =
    seccomp && !noNewPrivileges && (effective & CAP_SYS_ADMIN) === 0n ? CAP_SYS_ADMIN & available : 0n;
  yield ['CAPABILITIES', effective | lends, permitted | lends, inheritable];
  if (ambient) yield ['AMBIENT', ambient];
  if (context.lookUp) yield ['PROGRAM', process.args[0]!, searchPath(process.env ?? [])];
  const filter: Operation[] = [];
  if (noNewPrivileges) filter.push(['NO_NEW_PRIVILEGES']);
  if (seccomp) filter.push(['SECCOMP', seccomp.flags, seccomp.program]);
  if (lends) filter.push(['CAPABILITIES', effective, permitted, inheritable]);
  const started = [...context.started];
  // compiling a filter takes the kernel longer than everything else from the gate on
  const early = seccomp?.early && started.length === 0;
  yield* early ? [...filter, GATE] : [GATE, ...started, ...filter];
  yield ['EXEC', process.args, process.env ?? []];
}

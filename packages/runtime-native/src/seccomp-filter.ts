/** Compiled seccomp filters, remembered: the containers of one engine share a few profiles, and compiling takes a while. */
import type { SeccompFilter } from './plan/context.ts';
import { compileSeccomp, seccompFlags } from './seccomp.ts';
import { allowsAll, notifies } from './seccomp/compile.ts';
import type { LinuxSeccomp } from './spec/linux.ts';

/** More profiles than this at a time are compiled again when their turn comes: some 5 KB each. */
const REMEMBERED = 16;

/**
 * What a process of ours does between a filter that is loaded early and its program: waiting at the gate, giving up the
 * capability that loading took, closing descriptors; and reporting that it came to nothing.
 */
const AFTER_FILTER: readonly string[] = [
  'recvfrom',
  'sendto',
  'recvmsg',
  'sendmsg',
  'capset',
  'prctl',
  'mmap',
  'dup2',
  'dup3',
  'fcntl',
  'close',
  'close_range',
  'rt_sigprocmask',
  'faccessat',
  'faccessat2',
  'execve',
  'exit',
  'exit_group',
];

const filters = new Map<string, SeccompFilter>();

/**
 * The filter of a profile.
 *
 * @throws {RuntimeError} `INVALID_SPEC` with `field`, `UNSUPPORTED` on a machine without a table of system calls
 */
export function seccompFilter(profile: LinuxSeccomp): SeccompFilter {
  // by content: a spec that went through JSON or a schema is another object every time
  const key = JSON.stringify(profile);
  const known = filters.get(key);
  if (known) return known;
  const flags = seccompFlags(profile);
  const filter = {
    flags,
    program: compileSeccomp(profile),
    early: !notifies(profile) && allowsAll(profile, AFTER_FILTER),
  };
  const [oldest] = filters.keys();
  if (filters.size >= REMEMBERED && oldest !== undefined) filters.delete(oldest);
  filters.set(key, filter);
  return filter;
}

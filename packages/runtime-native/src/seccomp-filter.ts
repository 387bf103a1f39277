/** Compiled seccomp filters, remembered: the containers of one engine share a few profiles, and compiling takes a while. */
import type { SeccompFilter } from './plan/context.ts';
import { compileSeccomp, seccompFlags } from './seccomp.ts';
import type { LinuxSeccomp } from './spec/linux.ts';

/** More profiles than this at a time are compiled again when their turn comes: some 5 KB each. */
const REMEMBERED = 16;

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
  const filter = { flags: seccompFlags(profile), program: compileSeccomp(profile) };
  const [oldest] = filters.keys();
  if (filters.size >= REMEMBERED && oldest !== undefined) filters.delete(oldest);
  filters.set(key, filter);
  return filter;
}

/** Compiled seccomp filters, remembered: the containers of one engine share a few profiles. */
import type { SeccompFilter } from './plan/context.ts';
import { compileSeccomp, seccompFlags } from './seccomp.ts';
import type { LinuxSeccomp } from './spec/linux.ts';

/** Profiles differ by the capabilities that containers ask for; more variants than this do not come at once. */
const REMEMBERED = 32;

const filters = new Map<string, SeccompFilter>();

/** The program for this machine and its flags. @throws {RuntimeError} as {@link compileSeccomp} */
export function seccompFilter(profile: LinuxSeccomp): SeccompFilter {
  const key = JSON.stringify(profile);
  let filter = filters.get(key);
  if (!filter) {
    filter = { flags: seccompFlags(profile), program: compileSeccomp(profile) };
    if (filters.size >= REMEMBERED) filters.delete(filters.keys().next().value!);
    filters.set(key, filter);
  }
  return filter;
}

/** Compiled seccomp filters, remembered: the containers of one engine share a few profiles. */
import { RuntimeError } from './errors.ts';
import type { SeccompFilter } from './plan/context.ts';
import type { LinuxSeccomp } from './spec/linux.ts';

export function seccompFilter(_profile: LinuxSeccomp): SeccompFilter {
  throw new RuntimeError('UNSUPPORTED', 'seccomp');
}

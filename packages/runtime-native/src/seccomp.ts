/** Seccomp: system-call filters from profiles of the runtime spec or of Docker's format, and the default profile. */
export { compileSeccomp, seccompFlags } from './seccomp/compile.ts';
export type { CompileSeccompOptions } from './seccomp/compile.ts';
export { defaultSeccompProfile } from './seccomp/default-profile.ts';
export type { DefaultSeccompOptions } from './seccomp/default-profile.ts';
export { parseSeccompProfile } from './seccomp/docker-profile.ts';
export type { ResolveSeccompOptions } from './seccomp/docker-profile.ts';

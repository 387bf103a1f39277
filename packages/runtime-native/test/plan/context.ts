/** Input of the compiler for tests: a machine without cgroups, and root on it. */
import type { Caller, PlanContext } from '../../src/plan/context.ts';

export const ROOT: Caller = {
  uid: 0,
  gid: 0,
  privileged: true,
  capabilities: (1n << 41n) - 1n,
  idTools: undefined,
  findDevice: () => undefined,
};

/** A user without any power. */
export const USER: Caller = {
  ...ROOT,
  uid: 1234,
  gid: 1234,
  privileged: false,
  capabilities: 0n,
  findDevice: ({ path }) => path,
};

export const CONTEXT: PlanContext = {
  scratch: '/run/x',
  rootfs: undefined,
  stdio: {},
  subject: { id: 'x', bundle: '/bundle' },
  cgroups: undefined,
  seccomp: undefined,
  caller: ROOT,
  securityModules: { apparmor: false, selinux: false },
  warn: (warning) => {
    throw warning;
  },
};

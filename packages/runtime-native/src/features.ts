/**
 * What this runtime can do, as the runtime spec's `features` document.
 *
 * @see https://github.com/opencontainers/runtime-spec/blob/main/features.md
 */
import { detectCgroups } from './cgroups/layout.ts';
import { resctrlRoot } from './intel-rdt.ts';
import { MOUNT_OPTIONS } from './plan/mount-options.ts';
import { AUDIT_ARCHITECTURE } from './seccomp/architectures.ts';
import { SECCOMP_FLAGS } from './seccomp/compile.ts';
import { securityModules } from './security-modules.ts';
import { CAPABILITIES } from './spec/capabilities.ts';
import { HOOK_KINDS } from './spec/config.ts';
import { NAMESPACE_TYPES, SECCOMP_ACTIONS, SECCOMP_OPERATORS } from './spec/linux.ts';

/** The `features` document of the runtime spec. */
export interface Features {
  ociVersionMin: string;
  ociVersionMax: string;
  /** Kinds of hooks. */
  hooks: readonly string[];
  /** Options of mounts, but for those of the file systems themselves. */
  mountOptions: readonly string[];
  linux: {
    namespaces: readonly string[];
    capabilities: readonly string[];
    cgroup: { v1: boolean; v2: boolean; systemd: boolean; systemdUser: boolean; rdma: boolean };
    seccomp: {
      enabled: boolean;
      actions: readonly string[];
      operators: readonly string[];
      archs: readonly string[];
      knownFlags: readonly string[];
      supportedFlags: readonly string[];
    };
    apparmor: { enabled: boolean };
    selinux: { enabled: boolean };
    intelRdt: { enabled: boolean };
    mountExtensions: { idmap: { enabled: boolean } };
    netDevices: { enabled: boolean };
  };
  annotations: Record<string, string>;
  potentiallyUnsafeConfigAnnotations: readonly string[];
}

/** Made of the tables that the runtime itself works with; `enabled` of security modules and cgroups is this machine's. */
export function features(): Features {
  const { hierarchies } = detectCgroups();
  const modules = securityModules();
  return {
    ociVersionMin: '1.0.0',
    ociVersionMax: '1.2.1',
    hooks: HOOK_KINDS,
    mountOptions: MOUNT_OPTIONS,
    linux: {
      namespaces: NAMESPACE_TYPES.toSorted(),
      capabilities: CAPABILITIES,
      cgroup: {
        v1: true,
        v2: true,
        systemd: false,
        systemdUser: false,
        rdma: hierarchies.some(({ controllers }) => controllers.includes('rdma')),
      },
      seccomp: {
        enabled: true,
        actions: SECCOMP_ACTIONS,
        operators: SECCOMP_OPERATORS,
        archs: Object.keys(AUDIT_ARCHITECTURE),
        knownFlags: SECCOMP_FLAGS,
        supportedFlags: SECCOMP_FLAGS,
      },
      apparmor: { enabled: modules.apparmor },
      selinux: { enabled: modules.selinux },
      intelRdt: { enabled: resctrlRoot() !== undefined },
      mountExtensions: { idmap: { enabled: true } },
      netDevices: { enabled: true },
    },
    annotations: {},
    potentiallyUnsafeConfigAnnotations: [],
  };
}

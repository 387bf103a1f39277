/** The OCI runtime spec (`config.json`), as zod schemas and types, and the defaults of a container. */
export { CAPABILITIES, capabilityMask, isCapability } from './capabilities.ts';
export { RLIMIT_TYPES, capabilitiesSchema, mountSchema, processSchema, specSchema } from './config.ts';
export type { CapabilitySets, MountSpec, ProcessSpec, RlimitSpec, Spec } from './config.ts';
export {
  DEFAULT_CAPABILITIES,
  DEFAULT_DEVICES,
  DEFAULT_MASKED_PATHS,
  DEFAULT_READONLY_PATHS,
  capabilitySets,
  defaultDeviceRules,
  defaultMounts,
  defaultNamespaces,
  defaultSpec,
} from './defaults.ts';
export {
  NAMESPACE_TYPES,
  SECCOMP_ACTIONS,
  SECCOMP_OPERATORS,
  linuxSchema,
  resourcesSchema,
  seccompSchema,
} from './linux.ts';
export type {
  DeviceSpec,
  IdMapping,
  LinuxResources,
  LinuxSeccomp,
  LinuxSpec,
  NamespaceSpec,
} from './linux.ts';

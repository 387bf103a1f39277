/** `HostConfig`: what a container asks of this host, as the API has it. Absent members are Go's zero values. */
import { z } from 'zod';

import { integer, stringMap, strings } from './go-values.ts';

const bool = z.boolean();
const text = z.string();

const weightDevice = z.object({ Path: text.optional(), Weight: integer.optional() });
const throttleDevice = z.object({ Path: text.optional(), Rate: integer.optional() });

const deviceMapping = z.object({
  PathOnHost: text.optional(),
  PathInContainer: text.optional(),
  /** Any of `r`, `w`, `m`; default all. */
  CgroupPermissions: text.optional(),
});

const deviceRequest = z.object({
  Driver: text.optional(),
  Count: integer.optional(),
  DeviceIDs: strings.optional(),
  Capabilities: z.array(strings).optional(),
  Options: stringMap.optional(),
});

const ulimit = z.object({ Name: text.optional(), Hard: integer.optional(), Soft: integer.optional() });

/** How often a container that ended is started again. */
export const restartPolicySchema = z.object({
  Name: text.optional(),
  MaximumRetryCount: integer.optional(),
});

/** The limits that `POST /containers/{id}/update` can change too. */
export const resourcesShape = {
  CpuShares: integer.optional(),
  Memory: integer.optional(),
  NanoCpus: integer.optional(),
  CgroupParent: text.optional(),
  BlkioWeight: integer.optional(),
  BlkioWeightDevice: z.array(weightDevice).optional(),
  BlkioDeviceReadBps: z.array(throttleDevice).optional(),
  BlkioDeviceWriteBps: z.array(throttleDevice).optional(),
  BlkioDeviceReadIOps: z.array(throttleDevice).optional(),
  BlkioDeviceWriteIOps: z.array(throttleDevice).optional(),
  CpuPeriod: integer.optional(),
  CpuQuota: integer.optional(),
  CpuRealtimePeriod: integer.optional(),
  CpuRealtimeRuntime: integer.optional(),
  CpusetCpus: text.optional(),
  CpusetMems: text.optional(),
  Devices: z.array(deviceMapping).optional(),
  DeviceCgroupRules: strings.optional(),
  DeviceRequests: z.array(deviceRequest).optional(),
  MemoryReservation: integer.optional(),
  MemorySwap: integer.optional(),
  MemorySwappiness: integer.optional(),
  OomKillDisable: bool.optional(),
  PidsLimit: integer.optional(),
  Ulimits: z.array(ulimit).optional(),
  CpuCount: integer.optional(),
  CpuPercent: integer.optional(),
  IOMaximumIOps: integer.optional(),
  IOMaximumBandwidth: integer.optional(),
};

/** One entry of `Mounts`, the explicit form of a mount. */
export const mountSchema = z.object({
  Type: text.optional(),
  Source: text.optional(),
  Target: text.optional(),
  ReadOnly: bool.optional(),
  Consistency: text.optional(),
  BindOptions: z
    .object({
      Propagation: text.optional(),
      NonRecursive: bool.optional(),
      CreateMountpoint: bool.optional(),
      ReadOnlyNonRecursive: bool.optional(),
      ReadOnlyForceRecursive: bool.optional(),
    })
    .optional(),
  VolumeOptions: z
    .object({
      NoCopy: bool.optional(),
      Labels: stringMap.optional(),
      DriverConfig: z.object({ Name: text.optional(), Options: stringMap.optional() }).optional(),
      Subpath: text.optional(),
    })
    .optional(),
  TmpfsOptions: z
    .object({
      SizeBytes: integer.optional(),
      Mode: integer.optional(),
      Options: z.array(strings).optional(),
    })
    .optional(),
  ImageOptions: z.object({ Subpath: text.optional() }).optional(),
});

const portBinding = z.object({ HostIp: text.optional(), HostPort: text.optional() });

/** The whole of `HostConfig`. */
export const hostConfigSchema = z.object({
  Binds: strings.optional(),
  ContainerIDFile: text.optional(),
  LogConfig: z.object({ Type: text.optional(), Config: stringMap.optional() }).optional(),
  NetworkMode: text.optional(),
  PortBindings: z.record(text, z.array(portBinding).nullable()).optional(),
  RestartPolicy: restartPolicySchema.optional(),
  AutoRemove: bool.optional(),
  VolumeDriver: text.optional(),
  VolumesFrom: strings.optional(),
  ConsoleSize: z.array(integer).optional(),
  Annotations: stringMap.optional(),
  CapAdd: strings.optional(),
  CapDrop: strings.optional(),
  CgroupnsMode: text.optional(),
  Dns: strings.optional(),
  DnsOptions: strings.optional(),
  DnsSearch: strings.optional(),
  ExtraHosts: strings.optional(),
  GroupAdd: strings.optional(),
  IpcMode: text.optional(),
  Cgroup: text.optional(),
  Links: strings.optional(),
  OomScoreAdj: integer.optional(),
  PidMode: text.optional(),
  Privileged: bool.optional(),
  PublishAllPorts: bool.optional(),
  ReadonlyRootfs: bool.optional(),
  SecurityOpt: strings.optional(),
  StorageOpt: stringMap.optional(),
  Tmpfs: stringMap.optional(),
  UTSMode: text.optional(),
  UsernsMode: text.optional(),
  ShmSize: integer.optional(),
  Sysctls: stringMap.optional(),
  Runtime: text.optional(),
  Isolation: text.optional(),
  ...resourcesShape,
  Mounts: z.array(mountSchema).optional(),
  MaskedPaths: strings.optional(),
  ReadonlyPaths: strings.optional(),
  Init: bool.optional(),
});

/** `HostConfig` as received, or as kept with the engine's defaults filled in. */
export type HostConfig = z.infer<typeof hostConfigSchema>;
/** The limits among {@link HostConfig}. */
export type Resources = Pick<HostConfig, keyof typeof resourcesShape>;
/** `RestartPolicy`. */
export type RestartPolicy = z.infer<typeof restartPolicySchema>;
/** One entry of `Mounts`. */
export type MountRequest = z.infer<typeof mountSchema>;
/** One entry of a `PortBindings` list. */
export type PortBinding = z.infer<typeof portBinding>;

/** `POST /containers/{id}/update`: limits and the restart policy. */
export const updateSchema = z.object({ ...resourcesShape, RestartPolicy: restartPolicySchema.optional() });
/** Body of an update. */
export type UpdateRequest = z.infer<typeof updateSchema>;

/** What a container asks of its host, as inspect shows it. */
import { z } from 'zod';
import { flag, integer, portBinding, text, textMap, texts, ulimit } from './values.ts';

export const logConfig = z.strictObject({
  Type: text,
  Config: textMap.nullable(),
});

export const restartPolicy = z.strictObject({
  Name: text,
  MaximumRetryCount: integer,
});

export const weightDevice = z.strictObject({
  Path: text,
  Weight: integer,
});

export const throttleDevice = z.strictObject({
  Path: text,
  Rate: integer,
});

export const deviceMapping = z.strictObject({
  PathOnHost: text,
  PathInContainer: text,
  CgroupPermissions: text,
});

export const deviceRequest = z.strictObject({
  Driver: text,
  Count: integer,
  DeviceIDs: texts.nullable(),
  Capabilities: z.array(texts).nullable(),
  Options: textMap.nullable(),
});

export const bindOptions = z.strictObject({
  Propagation: text.optional(),
  NonRecursive: flag.optional(),
  CreateMountpoint: flag.optional(),
  ReadOnlyNonRecursive: flag.optional(),
  ReadOnlyForceRecursive: flag.optional(),
});

export const mountDriver = z.strictObject({
  Name: text.optional(),
  Options: textMap.optional(),
});

export const volumeOptions = z.strictObject({
  NoCopy: flag.optional(),
  Labels: textMap.optional(),
  Subpath: text.optional(),
  DriverConfig: mountDriver.optional(),
});

export const imageOptions = z.strictObject({
  Subpath: text.optional(),
});

export const tmpfsOptions = z.strictObject({
  SizeBytes: integer.optional(),
  Mode: integer.optional(),
  Options: z.array(texts).optional(),
});

export const mount = z.strictObject({
  Type: text.optional(),
  Source: text.optional(),
  Target: text.optional(),
  ReadOnly: flag.optional(),
  Consistency: text.optional(),
  BindOptions: bindOptions.optional(),
  VolumeOptions: volumeOptions.optional(),
  ImageOptions: imageOptions.optional(),
  TmpfsOptions: tmpfsOptions.optional(),
});

export const hostConfig = z.strictObject({
  Binds: texts.nullable(),
  ContainerIDFile: text,
  LogConfig: logConfig,
  NetworkMode: text,
  PortBindings: z.record(text, z.array(portBinding).nullable()).nullable(),
  RestartPolicy: restartPolicy,
  AutoRemove: flag,
  VolumeDriver: text,
  VolumesFrom: texts.nullable(),
  ConsoleSize: z.array(integer),
  Annotations: textMap.optional(),
  CapAdd: texts.nullable(),
  CapDrop: texts.nullable(),
  CgroupnsMode: text,
  Dns: texts.nullable(),
  DnsOptions: texts.nullable(),
  DnsSearch: texts.nullable(),
  ExtraHosts: texts.nullable(),
  GroupAdd: texts.nullable(),
  IpcMode: text,
  Cgroup: text,
  Links: texts.nullable(),
  OomScoreAdj: integer,
  PidMode: text,
  Privileged: flag,
  PublishAllPorts: flag,
  ReadonlyRootfs: flag,
  SecurityOpt: texts.nullable(),
  StorageOpt: textMap.optional(),
  Tmpfs: textMap.optional(),
  UTSMode: text,
  UsernsMode: text,
  ShmSize: integer,
  Sysctls: textMap.optional(),
  Runtime: text.optional(),
  Isolation: text,
  CpuShares: integer,
  Memory: integer,
  NanoCpus: integer,
  CgroupParent: text,
  BlkioWeight: integer,
  BlkioWeightDevice: z.array(weightDevice).nullable(),
  BlkioDeviceReadBps: z.array(throttleDevice).nullable(),
  BlkioDeviceWriteBps: z.array(throttleDevice).nullable(),
  BlkioDeviceReadIOps: z.array(throttleDevice).nullable(),
  BlkioDeviceWriteIOps: z.array(throttleDevice).nullable(),
  CpuPeriod: integer,
  CpuQuota: integer,
  CpuRealtimePeriod: integer,
  CpuRealtimeRuntime: integer,
  CpusetCpus: text,
  CpusetMems: text,
  Devices: z.array(deviceMapping).nullable(),
  DeviceCgroupRules: texts.nullable(),
  DeviceRequests: z.array(deviceRequest).nullable(),
  KernelMemory: integer.optional(),
  KernelMemoryTCP: integer.optional(),
  MemoryReservation: integer,
  MemorySwap: integer,
  MemorySwappiness: integer.nullable(),
  OomKillDisable: flag.nullable(),
  PidsLimit: integer.nullable(),
  Ulimits: z.array(ulimit).nullable(),
  CpuCount: integer,
  CpuPercent: integer,
  IOMaximumIOps: integer,
  IOMaximumBandwidth: integer,
  Mounts: z.array(mount).optional(),
  MaskedPaths: texts.nullable(),
  ReadonlyPaths: texts.nullable(),
  Init: flag.optional(),
});

/** `HostConfig` in Docker's JSON. Pure. */
import { DEFAULT_MASKED_PATHS, DEFAULT_READONLY_PATHS } from '@tare/runtime-native/spec';

import type { HostConfig } from './host-config.ts';

/** Every member of `HostConfig`, in Go's order; slices and maps that were not given are null. */
export function renderHostConfig(host: HostConfig): Record<string, unknown> {
  const present = (key: 'Annotations' | 'StorageOpt' | 'Tmpfs' | 'Sysctls' | 'Mounts' | 'Init'): object =>
    host[key] === undefined ? {} : { [key]: host[key] };
  return {
    Binds: host.Binds ?? null,
    ContainerIDFile: host.ContainerIDFile ?? '',
    LogConfig: { Type: host.LogConfig?.Type || 'json-file', Config: host.LogConfig?.Config ?? {} },
    NetworkMode: host.NetworkMode ?? '',
    PortBindings: Object.fromEntries(
      Object.entries(host.PortBindings ?? {}).map(([port, list]) => [
        port,
        list?.map(({ HostIp = '', HostPort = '' }) => ({ HostIp, HostPort })) ?? null,
      ]),
    ),
    RestartPolicy: {
      Name: host.RestartPolicy?.Name || 'no',
      MaximumRetryCount: host.RestartPolicy?.MaximumRetryCount ?? 0,
    },
    AutoRemove: host.AutoRemove ?? false,
    VolumeDriver: host.VolumeDriver ?? '',
    VolumesFrom: host.VolumesFrom ?? null,
    ConsoleSize: host.ConsoleSize ?? [0, 0],
    ...present('Annotations'),
    CapAdd: host.CapAdd ?? null,
    CapDrop: host.CapDrop ?? null,
    CgroupnsMode: host.CgroupnsMode ?? '',
    Dns: host.Dns ?? [],
    DnsOptions: host.DnsOptions ?? [],
    DnsSearch: host.DnsSearch ?? [],
    ExtraHosts: host.ExtraHosts ?? null,
    GroupAdd: host.GroupAdd ?? null,
    IpcMode: host.IpcMode ?? '',
    Cgroup: host.Cgroup ?? '',
    Links: host.Links ?? null,
    OomScoreAdj: host.OomScoreAdj ?? 0,
    PidMode: host.PidMode ?? '',
    Privileged: host.Privileged ?? false,
    PublishAllPorts: host.PublishAllPorts ?? false,
    ReadonlyRootfs: host.ReadonlyRootfs ?? false,
    SecurityOpt: host.SecurityOpt ?? null,
    ...present('StorageOpt'),
    ...present('Tmpfs'),
    UTSMode: host.UTSMode ?? '',
    UsernsMode: host.UsernsMode ?? '',
    ShmSize: host.ShmSize ?? 0,
    ...present('Sysctls'),
    Runtime: host.Runtime ?? '',
    Isolation: host.Isolation ?? '',
    CpuShares: host.CpuShares ?? 0,
    Memory: host.Memory ?? 0,
    NanoCpus: host.NanoCpus ?? 0,
    CgroupParent: host.CgroupParent ?? '',
    BlkioWeight: host.BlkioWeight ?? 0,
    BlkioWeightDevice: (host.BlkioWeightDevice ?? []).map(({ Path = '', Weight = 0 }) => ({ Path, Weight })),
    BlkioDeviceReadBps: (host.BlkioDeviceReadBps ?? []).map(throttle),
    BlkioDeviceWriteBps: (host.BlkioDeviceWriteBps ?? []).map(throttle),
    BlkioDeviceReadIOps: (host.BlkioDeviceReadIOps ?? []).map(throttle),
    BlkioDeviceWriteIOps: (host.BlkioDeviceWriteIOps ?? []).map(throttle),
    CpuPeriod: host.CpuPeriod ?? 0,
    CpuQuota: host.CpuQuota ?? 0,
    CpuRealtimePeriod: host.CpuRealtimePeriod ?? 0,
    CpuRealtimeRuntime: host.CpuRealtimeRuntime ?? 0,
    CpusetCpus: host.CpusetCpus ?? '',
    CpusetMems: host.CpusetMems ?? '',
    Devices: (host.Devices ?? []).map((device) => ({
      PathOnHost: device.PathOnHost ?? '',
      PathInContainer: device.PathInContainer ?? '',
      CgroupPermissions: device.CgroupPermissions ?? '',
    })),
    DeviceCgroupRules: host.DeviceCgroupRules ?? null,
    DeviceRequests:
      host.DeviceRequests?.map((request) => ({
        Driver: request.Driver ?? '',
        Count: request.Count ?? 0,
        DeviceIDs: request.DeviceIDs ?? null,
        Capabilities: request.Capabilities ?? null,
        Options: request.Options ?? null,
      })) ?? null,
    MemoryReservation: host.MemoryReservation ?? 0,
    MemorySwap: host.MemorySwap ?? 0,
    MemorySwappiness: host.MemorySwappiness ?? null,
    OomKillDisable: host.OomKillDisable ?? false,
    PidsLimit: host.PidsLimit ?? null,
    Ulimits: (host.Ulimits ?? []).map(({ Name = '', Hard = 0, Soft = 0 }) => ({ Name, Hard, Soft })),
    CpuCount: host.CpuCount ?? 0,
    CpuPercent: host.CpuPercent ?? 0,
    IOMaximumIOps: host.IOMaximumIOps ?? 0,
    IOMaximumBandwidth: host.IOMaximumBandwidth ?? 0,
    ...present('Mounts'),
    MaskedPaths: host.Privileged ? null : (host.MaskedPaths ?? DEFAULT_MASKED_PATHS),
    ReadonlyPaths: host.Privileged ? null : (host.ReadonlyPaths ?? DEFAULT_READONLY_PATHS),
    ...present('Init'),
  };
}

function throttle({ Path = '', Rate = 0 }: { Path?: string; Rate?: number }): unknown {
  return { Path, Rate };
}

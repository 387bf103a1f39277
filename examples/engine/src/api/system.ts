/** The engine itself: version, info, disk use, events, registries. */
import { descriptorSchema, platformSchema } from '@tare/image-spec';
import { z } from 'zod';
import { containerSummary } from './container.ts';
import { imageSummary } from './image.ts';
import { flag, integer, text, textMap, texts, time } from './values.ts';
import { volume } from './volume.ts';

export const pluginsInfo = z.strictObject({
  Volume: texts.nullable(),
  Network: texts.nullable(),
  Authorization: texts.nullable(),
  Log: texts.nullable(),
});

export const indexInfo = z.strictObject({
  Name: text,
  Mirrors: texts.nullable(),
  Secure: flag,
  Official: flag,
});

export const registryConfig = z.strictObject({
  AllowNondistributableArtifactsCIDRs: z.array(text).optional(),
  AllowNondistributableArtifactsHostnames: texts.optional(),
  InsecureRegistryCIDRs: z.array(text).nullable(),
  IndexConfigs: z.record(text, indexInfo.nullable()).nullable(),
  Mirrors: texts.nullable(),
});

export const runtimeWithStatus = z.strictObject({
  path: text.optional(),
  runtimeArgs: texts.optional(),
  runtimeType: text.optional(),
  options: z.record(text, z.unknown()).optional(),
  status: textMap.optional(),
});

export const peer = z.strictObject({
  NodeID: text,
  Addr: text,
});

export const swarmInfo = z.strictObject({
  NodeID: text,
  NodeAddr: text,
  LocalNodeState: text,
  ControlAvailable: flag,
  Error: text,
  RemoteManagers: z.array(peer).nullable(),
});

export const componentCommit = z.strictObject({
  ID: text,
  Expected: text.optional(),
});

export const networkAddressPool = z.strictObject({
  Base: text,
  Size: integer,
});

export const firewallInfo = z.strictObject({
  Driver: text,
  Info: z.array(texts).optional(),
});

export const deviceInfo = z.strictObject({
  Source: text,
  ID: text,
});

export const containerdNamespaces = z.strictObject({
  Containers: text,
  Plugins: text,
});

export const containerdInfo = z.strictObject({
  Address: text.optional(),
  Namespaces: containerdNamespaces,
});

export const systemInfo = z.strictObject({
  ID: text,
  Containers: integer,
  ContainersRunning: integer,
  ContainersPaused: integer,
  ContainersStopped: integer,
  Images: integer,
  Driver: text,
  DriverStatus: z.array(texts).nullable(),
  SystemStatus: z.array(texts).optional(),
  Plugins: pluginsInfo,
  MemoryLimit: flag,
  SwapLimit: flag,
  KernelMemory: flag.optional(),
  KernelMemoryTCP: flag.optional(),
  CpuCfsPeriod: flag,
  CpuCfsQuota: flag,
  CPUShares: flag,
  CPUSet: flag,
  PidsLimit: flag,
  IPv4Forwarding: flag,
  Debug: flag,
  NFd: integer,
  OomKillDisable: flag,
  NGoroutines: integer,
  SystemTime: text,
  LoggingDriver: text,
  CgroupDriver: text,
  CgroupVersion: text.optional(),
  NEventsListener: integer,
  KernelVersion: text,
  OperatingSystem: text,
  OSVersion: text,
  OSType: text,
  Architecture: text,
  IndexServerAddress: text,
  RegistryConfig: registryConfig.nullable(),
  NCPU: integer,
  MemTotal: integer,
  GenericResources: z.array(z.unknown()).nullable(),
  DockerRootDir: text,
  HttpProxy: text,
  HttpsProxy: text,
  NoProxy: text,
  Name: text,
  Labels: texts.nullable(),
  ExperimentalBuild: flag,
  ServerVersion: text,
  Runtimes: z.record(text, runtimeWithStatus).nullable(),
  DefaultRuntime: text,
  Swarm: swarmInfo,
  LiveRestoreEnabled: flag,
  Isolation: text,
  InitBinary: text,
  ContainerdCommit: componentCommit,
  RuncCommit: componentCommit,
  InitCommit: componentCommit,
  SecurityOptions: texts.nullable(),
  ProductLicense: text.optional(),
  DefaultAddressPools: z.array(networkAddressPool).optional(),
  FirewallBackend: firewallInfo.optional(),
  CDISpecDirs: texts.nullable(),
  DiscoveredDevices: z.array(deviceInfo).optional(),
  Containerd: containerdInfo.optional(),
  Warnings: texts.nullable(),
});

export const componentVersion = z.strictObject({
  Name: text,
  Version: text,
  Details: textMap.optional(),
});

export const systemVersion = z.strictObject({
  Platform: z.unknown().optional(),
  Components: z.array(componentVersion).optional(),
  Version: text,
  ApiVersion: text,
  MinAPIVersion: text.optional(),
  GitCommit: text,
  GoVersion: text,
  Os: text,
  Arch: text,
  KernelVersion: text.optional(),
  Experimental: flag.optional(),
  BuildTime: text.optional(),
});

export const cacheRecord = z.strictObject({
  ID: text,
  Parent: text.optional(),
  Parents: texts.optional(),
  Type: text,
  Description: text,
  InUse: flag,
  Shared: flag,
  Size: integer,
  CreatedAt: time,
  LastUsedAt: time.nullable(),
  UsageCount: integer,
});

export const diskUsage = z.strictObject({
  LayersSize: integer,
  Images: z.array(imageSummary).nullable(),
  Containers: z.array(containerSummary).nullable(),
  Volumes: z.array(volume).nullable(),
  BuildCache: z.array(cacheRecord).nullable(),
  BuilderSize: integer.optional(),
});

export const buildCachePruned = z.strictObject({
  CachesDeleted: texts.nullable(),
  SpaceReclaimed: integer,
});

export const searchResult = z.strictObject({
  star_count: integer,
  is_official: flag,
  name: text,
  is_automated: flag,
  description: text,
});

export const distributionInspect = z.strictObject({
  Descriptor: descriptorSchema,
  Platforms: z.array(platformSchema).nullable(),
});

export const authenticated = z.strictObject({
  IdentityToken: text,
  Status: text,
});

export const eventActor = z.strictObject({
  ID: text,
  Attributes: textMap.nullable(),
});

export const event = z.strictObject({
  status: text.optional(),
  id: text.optional(),
  from: text.optional(),
  Type: text,
  Action: text,
  Actor: eventActor,
  scope: text.optional(),
  time: integer.optional(),
  timeNano: integer.optional(),
});

export const idReply = z.strictObject({
  Id: text,
});

/** One piece of the engine's work: this engine's own, not Docker's. */
export const job = z.strictObject({
  Id: text,
  Kind: text,
  Subject: text,
  State: z.enum(['running', 'succeeded', 'failed', 'cancelled']),
  Progress: z.strictObject({ Message: text, Current: integer, Total: integer }).nullable(),
  ParentId: text,
  StartedAt: time,
  FinishedAt: time,
  DurationMs: integer,
  Error: text,
});

const buildTime = z.looseObject({ seconds: integer, nanos: integer });

/** A build for which nothing had to be done: BuildKit's StatusResponse, with base64 for bytes, and what the exporter says. */
export const unchangedBuild = z.strictObject({
  status: z.looseObject({
    vertexes: z.array(
      z.looseObject({
        digest: text,
        name: text,
        started: buildTime.optional(),
        completed: buildTime.optional(),
        cached: z.boolean(),
        error: text,
      }),
    ),
    statuses: z.array(z.looseObject({ id: text, vertex: text, current: integer, total: integer })),
    logs: z.array(z.looseObject({ vertex: text, msg: text })),
    warnings: z.array(z.looseObject({ short: text, url: text, detail: z.array(text) })),
  }),
  response: z.record(z.string(), text),
});

/** What every error reply is. */
export const errorReply = z.strictObject({ message: z.string().min(1) });

/** One message of a pull, push, load, import or build. */
export const progressMessage = z.strictObject({
  id: text.optional(),
  status: text.optional(),
  stream: text.optional(),
  progress: text.optional(),
  progressDetail: z.strictObject({ current: integer.optional(), total: integer.optional() }).optional(),
  error: text.optional(),
  errorDetail: z.strictObject({ code: integer.optional(), message: text }).optional(),
  aux: z.unknown().optional(),
});

/** Containers: lists, inspect, and the small replies about them. */
import { descriptorSchema } from '@tare/image-spec';
import { z } from 'zod';
import { hostConfig } from './host-config.ts';
import { endpointSettings, secondaryAddress } from './network.ts';
import {
  flag,
  graphDriver,
  healthcheck,
  integer,
  portBinding,
  text,
  textMap,
  texts,
  time,
} from './values.ts';

export const healthcheckResult = z.strictObject({
  Start: time,
  End: time,
  ExitCode: integer,
  Output: text,
});

export const health = z.strictObject({
  Status: text,
  FailingStreak: integer,
  Log: z.array(healthcheckResult).nullable(),
});

export const containerState = z.strictObject({
  Status: text,
  Running: flag,
  Paused: flag,
  Restarting: flag,
  OOMKilled: flag,
  Dead: flag,
  Pid: integer,
  ExitCode: integer,
  Error: text,
  StartedAt: text,
  FinishedAt: text,
  Health: health.optional(),
});

export const mountPoint = z.strictObject({
  Type: text.optional(),
  Name: text.optional(),
  Source: text,
  Destination: text,
  Driver: text.optional(),
  Mode: text,
  RW: flag,
  Propagation: text,
});

export const containerConfig = z.strictObject({
  Hostname: text,
  Domainname: text,
  User: text,
  AttachStdin: flag,
  AttachStdout: flag,
  AttachStderr: flag,
  ExposedPorts: z.record(text, z.strictObject({})).optional(),
  Tty: flag,
  OpenStdin: flag,
  StdinOnce: flag,
  Env: texts.nullable(),
  Cmd: texts.nullable(),
  Healthcheck: healthcheck.optional(),
  ArgsEscaped: flag.optional(),
  Image: text,
  Volumes: z.record(text, z.strictObject({})).nullable(),
  WorkingDir: text,
  Entrypoint: texts.nullable(),
  NetworkDisabled: flag.optional(),
  MacAddress: text.optional(),
  OnBuild: texts.nullable(),
  Labels: textMap.nullable(),
  StopSignal: text.optional(),
  StopTimeout: integer.optional(),
  Shell: texts.optional(),
});

export const networkSettings = z.strictObject({
  Bridge: text,
  SandboxID: text,
  SandboxKey: text,
  Ports: z.record(text, z.array(portBinding).nullable()).nullable(),
  HairpinMode: flag,
  LinkLocalIPv6Address: text,
  LinkLocalIPv6PrefixLen: integer,
  SecondaryIPAddresses: z.array(secondaryAddress).nullable(),
  SecondaryIPv6Addresses: z.array(secondaryAddress).nullable(),
  EndpointID: text,
  Gateway: text,
  GlobalIPv6Address: text,
  GlobalIPv6PrefixLen: integer,
  IPAddress: text,
  IPPrefixLen: integer,
  IPv6Gateway: text,
  MacAddress: text,
  Networks: z.record(text, endpointSettings.nullable()).nullable(),
});

export const containerInspect = z.strictObject({
  Id: text,
  Created: text,
  Path: text,
  Args: texts.nullable(),
  State: containerState.nullable(),
  Image: text,
  ResolvConfPath: text,
  HostnamePath: text,
  HostsPath: text,
  LogPath: text,
  Name: text,
  RestartCount: integer,
  Driver: text,
  Platform: text,
  MountLabel: text,
  ProcessLabel: text,
  AppArmorProfile: text,
  ExecIDs: texts.nullable(),
  HostConfig: hostConfig.nullable(),
  GraphDriver: graphDriver,
  SizeRw: integer.optional(),
  SizeRootFs: integer.optional(),
  Mounts: z.array(mountPoint).nullable(),
  Config: containerConfig.nullable(),
  NetworkSettings: networkSettings.nullable(),
  ImageManifestDescriptor: descriptorSchema.optional(),
});

export const portSummary = z.strictObject({
  IP: text.optional(),
  PrivatePort: integer,
  PublicPort: integer.optional(),
  Type: text,
});

export const summaryHostConfig = z.strictObject({
  NetworkMode: text.optional(),
  Annotations: textMap.optional(),
});

export const networkSettingsSummary = z.strictObject({
  Networks: z.record(text, endpointSettings.nullable()).nullable(),
});

export const containerSummary = z.strictObject({
  Id: text,
  Names: texts.nullable(),
  Image: text,
  ImageID: text,
  ImageManifestDescriptor: descriptorSchema.optional(),
  Command: text,
  Created: integer,
  Ports: z.array(portSummary).nullable(),
  SizeRw: integer.optional(),
  SizeRootFs: integer.optional(),
  Labels: textMap.nullable(),
  State: text,
  Status: text,
  HostConfig: summaryHostConfig,
  NetworkSettings: networkSettingsSummary.nullable(),
  Mounts: z.array(mountPoint).nullable(),
});

export const containerCreated = z.strictObject({
  Id: text,
  Warnings: texts.nullable(),
});

export const waitExitError = z.strictObject({
  Message: text.optional(),
});

export const waitResult = z.strictObject({
  Error: waitExitError.optional(),
  StatusCode: integer,
});

export const containerTop = z.strictObject({
  Processes: z.array(texts).nullable(),
  Titles: texts.nullable(),
});

export const filesystemChange = z.strictObject({
  Kind: integer,
  Path: text,
});

export const containersPruned = z.strictObject({
  ContainersDeleted: texts.nullable(),
  SpaceReclaimed: integer,
});

export const containerUpdated = z.strictObject({
  Warnings: texts.nullable(),
});

export const execInspect = z.strictObject({
  ID: text,
  Running: flag,
  ExitCode: integer.nullable(),
  ProcessConfig: z.strictObject({
    tty: flag,
    entrypoint: text,
    arguments: texts,
    privileged: flag,
    user: text.optional(),
  }),
  OpenStdin: flag,
  OpenStderr: flag,
  OpenStdout: flag,
  CanRemove: flag,
  ContainerID: text,
  DetachKeys: text,
  Pid: integer,
});

/** Body of `POST /containers/create`, as lenient as Go's decoder: unknown members ignored, null is "not given". */
import { z } from 'zod';

import { commandLine, integer, stringMap, stringSet, strings } from './go-values.ts';
import { hostConfigSchema } from './host-config.ts';

/** How a container's health is probed; durations in nanoseconds, 0 inherits. */
export const healthcheckSchema = z.object({
  /** `['NONE']`, `['CMD', …]` or `['CMD-SHELL', line]`; empty inherits. */
  Test: strings.optional(),
  Interval: integer.optional(),
  Timeout: integer.optional(),
  StartPeriod: integer.optional(),
  StartInterval: integer.optional(),
  Retries: integer.optional(),
});
/** How a container's health is probed. */
export type Healthcheck = z.infer<typeof healthcheckSchema>;

const configShape = {
  Hostname: z.string().optional(),
  Domainname: z.string().optional(),
  User: z.string().optional(),
  AttachStdin: z.boolean().optional(),
  AttachStdout: z.boolean().optional(),
  AttachStderr: z.boolean().optional(),
  ExposedPorts: stringSet.optional(),
  Tty: z.boolean().optional(),
  OpenStdin: z.boolean().optional(),
  StdinOnce: z.boolean().optional(),
  Env: strings.optional(),
  Cmd: commandLine.optional(),
  Healthcheck: healthcheckSchema.optional(),
  ArgsEscaped: z.boolean().optional(),
  Image: z.string().optional(),
  Volumes: stringSet.optional(),
  WorkingDir: z.string().optional(),
  Entrypoint: commandLine.optional(),
  NetworkDisabled: z.boolean().optional(),
  MacAddress: z.string().optional(),
  OnBuild: strings.optional(),
  Labels: stringMap.optional(),
  StopSignal: z.string().optional(),
  StopTimeout: integer.optional(),
  Shell: strings.optional(),
};

/** `Config`: what a container takes with it wherever it runs. */
export const containerConfigSchema = z.object(configShape);
/** `Config`. */
export type ContainerConfig = z.infer<typeof containerConfigSchema>;

/** What a container wants on one network. */
export const endpointSettingsSchema = z.object({
  IPAMConfig: z
    .object({
      IPv4Address: z.string().optional(),
      IPv6Address: z.string().optional(),
      LinkLocalIPs: strings.optional(),
    })
    .optional(),
  Links: strings.optional(),
  Aliases: strings.optional(),
  MacAddress: z.string().optional(),
  DriverOpts: stringMap.optional(),
  GwPriority: integer.optional(),
  NetworkID: z.string().optional(),
});
/** What a container wants on one network. */
export type EndpointSettings = z.infer<typeof endpointSettingsSchema>;

/** The whole body. */
export const createRequestSchema = z.object({
  ...configShape,
  HostConfig: hostConfigSchema.optional(),
  NetworkingConfig: z
    .object({ EndpointsConfig: z.record(z.string(), endpointSettingsSchema.nullable()).optional() })
    .optional(),
});
/** The whole body. */
export type CreateRequest = z.infer<typeof createRequestSchema>;

/** What a client asks the builder for. */
import type { Platform } from '@tare/image-spec';

import type { TreeRoot } from '../containers/trees.ts';
import type { HostConfig } from '../containers/host-config.ts';
import type { NewLayer } from '../images/create.ts';
import type { RegistryAuth } from '../images/remote.ts';
import type { StepOutput } from './output.ts';

/** Files of the client's. */
export interface ContextFiles {
  /** Where they are looked for. */
  root: TreeRoot;
  /** A directory with all of them, made when it is asked for; it stays for as long as the build. */
  directory(): Promise<string>;
}

/** Files by a name of the client's: `--build-context`. */
export type NamedContext =
  | { kind: 'image'; reference: string }
  /** What `open` gives stays for as long as the build. */
  | { kind: 'directory'; open(): Promise<ContextFiles> };

/** What a client gives to single commands, and what is in no layer, key or log. */
export interface BuildSecrets {
  /** @returns undefined when the client has none of that name */
  secret(id: string): Promise<Uint8Array | undefined>;
  /** A socket that leads to an agent of the client's, until `signal` aborts. @returns undefined without one */
  agent(id: string, directory: string, signal: AbortSignal): Promise<string | undefined>;
}

/** Limits and surroundings of every RUN of a build. */
export type RunLimits = Pick<
  HostConfig,
  | 'Memory'
  | 'MemorySwap'
  | 'CpuShares'
  | 'CpuPeriod'
  | 'CpuQuota'
  | 'CpusetCpus'
  | 'CpusetMems'
  | 'CgroupParent'
  | 'ShmSize'
  | 'Ulimits'
  | 'ExtraHosts'
  | 'NetworkMode'
>;

/** What a Dockerfile may do only when the client allows it. */
export type Entitlement = (typeof ENTITLEMENTS)[number];

const ENTITLEMENTS = ['network.host', 'security.insecure'] as const;

export function isEntitlement(name: string): name is Entitlement {
  return (ENTITLEMENTS as readonly string[]).includes(name);
}

/** A build. */
export interface BuildRequest {
  /** Text of the Dockerfile. */
  dockerfile: string;
  /** The files to build from; asked for when a step needs them. They stay for as long as the build. */
  context: () => Promise<ContextFiles>;
  /** Which of the client's files are kept from the context, for warnings. Default: nothing is said of them. */
  ignores?: () => Promise<((path: string) => boolean) | undefined>;
  /** Files and images by names of the client's. Default: none. */
  contexts?: ReadonlyMap<string, NamedContext>;
  secrets?: BuildSecrets | undefined;
  target: string;
  buildArgs: Readonly<Record<string, string | null>>;
  labels: Readonly<Record<string, string>>;
  platform: Platform | undefined;
  /** Names of stages; true for all. */
  noCache: boolean | readonly string[];
  /** Ask registries for newer base images. */
  pull: boolean;
  /** Where results of other engines are taken from. Default: nowhere. */
  cacheFrom?: readonly CacheSource[];
  /** Default: none. */
  entitlements?: readonly Entitlement[];
  limits: RunLimits;
  /** Credentials for a registry. */
  auth(registry: string): Promise<RegistryAuth | undefined>;
}

/** Results of steps of another engine, or of an image: what a build may take instead of doing its steps. */
export interface CacheSource {
  /** For people. */
  name: string;
  /** That it cannot be had is not told. Default: it is a warning. */
  quiet?: boolean;
  /** Results by the keys of their steps. */
  load(place: {
    output: StepOutput;
    /** Keeps blobs and layers for as long as the build. */
    hold(keys: readonly string[]): void;
    signal: AbortSignal;
  }): Promise<ReadonlyMap<string, ImportedResult>>;
}

/** A result of elsewhere. */
export interface ImportedResult extends NewLayer {
  /** Default: not known. */
  createdAt?: Date | undefined;
  /** Brings its blob here. Default: it is here. */
  fetch?: (signal: AbortSignal) => Promise<void>;
}
